"""The folder of an exported model is read back as it was written, wherever it is, and every fault of it is named."""

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
    """Its weight is no contiguous tensor, as those of some layouts of convolutions are."""
    made = nn.Linear(3, 2)
    made.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(layer().state_dict(), CONFIG, tmp_path / "made" / "model")
    return tmp_path / "made" / "model"


@pytest.mark.parametrize("remote", [False, True])
def test_what_was_written_is_read_back(folder: Path, remote: bool) -> None:
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
    assert opened.path.exists() == (not remote)  # a copy is deleted
    assert torch.equal(read.weight, layer().weight)


def test_all_that_is_missing_is_named_at_once(folder: Path) -> None:
    (folder / "config.json").unlink()
    with open_model_folder(str(folder)) as opened, pytest.raises(ModelFolderError) as caught:
        opened.require("config.json", "model.safetensors", "tokenizer")
    assert caught.value.faults == ("config.json is missing", "tokenizer is missing")
    assert str(caught.value).startswith(f"model {folder}: ")


@pytest.mark.parametrize("uri", ["/nowhere/model", "memory://nowhere/model"])
def test_a_folder_that_is_not_there_is_named(uri: str) -> None:
    with pytest.raises(ModelFolderError, match="there is no such folder"), open_model_folder(uri):
        pass


def test_every_faulty_field_is_named(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"sample_rate_hz": 0, "colour": "blue", "classes": 3}))
    with open_model_folder(str(folder)) as opened, pytest.raises(ModelFolderError) as caught:
        opened.config(TaggerConfig)
    assert sorted(fault.split(": ")[1] for fault in caught.value.faults) == ["classes", "colour", "sample_rate_hz"]


def test_another_kind_of_model_is_refused_with_what_to_do(folder: Path) -> None:
    with open_model_folder(str(folder)) as opened:
        opened.refuse({"mulan-1": "is a joint model"})
        with pytest.raises(ModelFolderError, match="is a tagger"):
            opened.refuse({"mulan-tagger-1": "is a tagger"})
        with pytest.raises(ModelFolderError, match=r"config\.json: format"):
            opened.config(EncoderConfig)
        for damaged in ("{", "[]", '{"format": ["mulan-tagger-1"]}'):
            (folder / "config.json").write_text(damaged)
            opened.refuse({"mulan-tagger-1": "is a tagger"})  # other checks name that fault


def test_weights_that_are_damaged_or_of_another_model_are_refused(folder: Path) -> None:
    with open_model_folder(str(folder)) as opened:
        with pytest.raises(ModelFolderError, match=r"(?s)does not fit config\.json.*weight"):
            opened.load_weights(nn.Linear(4, 2))
        (folder / "model.safetensors").write_bytes(b"not tensors")
        with pytest.raises(ModelFolderError, match=r"model\.safetensors cannot be read"):
            opened.load_weights(layer())
