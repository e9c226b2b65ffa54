"""Tests that networks are loaded completely, in float32, quietly and offline, without ineffective key biases."""

import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from mulan.config.sections import TextTowerConfig as TextSection
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import length_groups
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError, pretrained_folder
from tests.model.encoders import drawn


@pytest.mark.parametrize(
    ("kind", "projection", "kept"),
    [
        ("mpnet", ".k.", False),
        ("roberta", ".key.", False),
        ("roformer", ".key.", True),
        ("deberta-v2", "key_proj", True),
        ("qwen2", "k_proj", True),
    ],
)
def test_a_key_s_bias_is_dropped_where_it_changes_nothing(kind: str, projection: str, kept: bool) -> None:
    names = [name for name, _ in TextTower(drawn(kind)).named_parameters() if projection in name]
    assert any(name.endswith("weight") for name in names)
    assert any(name.endswith("bias") for name in names) == kept


@pytest.fixture
def minilm(tmp_path: Path) -> Path:
    """Returns a copy of the pretrained folder that a test may damage."""
    return Path(shutil.copytree(pretrained_folder(MINILM), tmp_path / "encoder"))


def test_weights_are_float32_whatever_the_file_holds(minilm: Path) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in load_file(minilm / "model.safetensors").items()}
    save_file(weights, minilm / "model.safetensors", metadata={"format": "pt"})
    tower = TextTower.from_section(TextSection(pretrained=str(minilm), layers=1))
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}


def test_never_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError(f"network access: {args}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    TextTower.from_section(TextSection(pretrained=MINILM, layers=1))
    with pytest.raises(PretrainedError):
        TextTower.from_section(TextSection(pretrained="bert-base-uncased"))


def test_loads_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    TextTower.from_section(TextSection(pretrained=MINILM, layers=1))
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_missing_weights_are_named_instead_of_drawn_at_random(minilm: Path) -> None:
    weights = load_file(minilm / "model.safetensors")
    del weights["encoder.layer.0.output.dense.bias"]
    save_file(weights, minilm / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PretrainedError, match=r"no weights for encoder\.layer\.0\.output\.dense\.bias"):
        TextTower.from_section(TextSection(pretrained=str(minilm), layers=1))


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", '{"model_type": "unheard-of"}'), ("model.safetensors", "not tensors")],
)
def test_damaged_folder(minilm: Path, file: str, content: str) -> None:
    (minilm / file).write_text(content)
    with pytest.raises(PretrainedError, match="cannot be loaded"):
        TextTower.from_section(TextSection(pretrained=str(minilm), layers=1))


LENGTHS = torch.tensor([3, 12, 5, 4, 12, 7])


def texts_of(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns random tokens and their mask."""
    token_ids = torch.randint(1000, 2000, (len(lengths), 12), generator=torch.Generator().manual_seed(0))
    return token_ids, (torch.arange(12) < lengths[:, None]).long()


@pytest.mark.parametrize("groups", [None, 2])
def test_attends_by_the_fused_kernel_of_torch(groups: int | None) -> None:
    token_ids, mask = texts_of(LENGTHS)
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=2))
    fused = functional.scaled_dot_product_attention
    for built in (tower, TextTower.from_config(tower.config)):
        with patch.object(functional, "scaled_dot_product_attention", side_effect=fused) as attention:
            built(token_ids, mask, None if groups is None else length_groups(mask, groups))
        assert attention.call_count == 2 * (groups or 1)
