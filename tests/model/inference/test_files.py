"""Tests that exported models are read as written, from local and remote folders, and that all faults are listed."""

import json
import uuid
from pathlib import Path

import fsspec
import pytest
import torch
from torch import nn

from mulan.config.audio import VggishFrontEndConfig
from mulan.model.inference.files import (
    EncoderConfig,
    ModelFolderError,
    TaggerConfig,
    open_model_folder,
    write_model,
)
from tests.model.small import RESNET

CONFIG = TaggerConfig(
    sample_rate_hz=16_000,
    window_samples=8000,
    front_end=VggishFrontEndConfig(mel_channels=20),
    audio_tower=RESNET,
    classes=("rock", "jazz"),
)


def layer() -> nn.Linear:
    """Returns a layer whose weight is not contiguous, like those of convolutions in some memory formats."""
    linear = nn.Linear(3, 2)
    linear.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)
    return linear


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(layer().state_dict(), CONFIG, tmp_path / "exported" / "model")
    return tmp_path / "exported" / "model"


@pytest.mark.parametrize("remote", [False, True])
def test_config_and_weights_are_read_back(folder: Path, remote: bool) -> None:
    uri = str(folder)
    if remote:
        uri = f"memory://{uuid.uuid4().hex}/model"
        fsspec.filesystem("memory").put(f"{folder}/", f"{uri}/", recursive=True)
    read = nn.Linear(3, 2)
    with open_model_folder(uri) as opened:
        opened.require("config.json", "model.safetensors")
        assert opened.config(TaggerConfig) == CONFIG
        opened.load_weights(read)
        assert (opened.path == folder) == (not remote)
    assert folder.exists()
    assert opened.path.exists() == (not remote)  # the downloaded copy is deleted
    assert torch.equal(read.weight, layer().weight)


def test_all_missing_files_are_listed_at_once(folder: Path) -> None:
    (folder / "config.json").unlink()
    with open_model_folder(str(folder)) as opened, pytest.raises(ModelFolderError) as caught:
        opened.require("config.json", "model.safetensors", "tokenizer")
    assert caught.value.faults == ("config.json is missing", "tokenizer is missing")
    assert str(caught.value).startswith(f"model {folder}: ")


@pytest.mark.parametrize("uri", ["/nowhere/model", "memory://nowhere/model"])
def test_a_folder_that_does_not_exist_is_named(uri: str) -> None:
    with pytest.raises(ModelFolderError, match="the folder does not exist"), open_model_folder(uri):
        pass


def test_every_invalid_field_is_named(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"sample_rate_hz": 0, "colour": "blue", "classes": 3}))
    with open_model_folder(str(folder)) as opened, pytest.raises(ModelFolderError) as caught:
        opened.config(TaggerConfig)
    assert sorted(fault.split(": ")[1] for fault in caught.value.faults) == ["classes", "colour", "sample_rate_hz"]


def test_another_kind_of_model_is_rejected_with_an_explanation(folder: Path) -> None:
    with open_model_folder(str(folder)) as opened:
        opened.refuse({"mulan-2": "is a joint model"})
        with pytest.raises(ModelFolderError, match="is a tagger"):
            opened.refuse({"mulan-tagger-2": "is a tagger"})
        with pytest.raises(ModelFolderError, match=r"config\.json: format"):
            opened.config(EncoderConfig)
        for damaged in ("{", "[]", '{"format": ["mulan-tagger-2"]}'):
            (folder / "config.json").write_text(damaged)
            opened.refuse({"mulan-tagger-2": "is a tagger"})  # reported by other checks


def test_weights_that_are_corrupt_or_of_another_model_are_rejected(folder: Path) -> None:
    with open_model_folder(str(folder)) as opened:
        with pytest.raises(ModelFolderError, match=r"(?s)does not fit config\.json.*weight"):
            opened.load_weights(nn.Linear(4, 2))
        (folder / "model.safetensors").write_bytes(b"not tensors")
        with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
            opened.load_weights(layer())
