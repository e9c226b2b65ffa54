"""Tests that text encoders equal their networks in transformers, with the pooling that is asked for or stated."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from mulan.config.errors import MulanError
from mulan.evaluation.encoders.sentence import SentenceEncoder, open_sentence_encoder
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError, pretrained_folder
from tests.model.encoders import drawn, saved

TEXTS = [
    "sad piano",
    "A fast and furious drum solo, recorded live in a very small room.",
    "",
    "slow jazz",
    "piano " * 400,
]


def opened(uri: str, **options: Any) -> SentenceEncoder:
    return open_sentence_encoder(uri, name="text", device="cpu", **options)


def expected(folder: Path, max_tokens: int, pool: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Embeds texts with transformers alone, one by one."""
    network, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in TEXTS:
        tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.no_grad():
            vector = pool(network(**tokens).last_hidden_state[0].double())
        rows.append((vector / vector.norm()).numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def minilm() -> Path:
    return pretrained_folder(MINILM)


@pytest.fixture
def stated(minilm: Path, tmp_path: Path) -> Path:
    """A folder of sentence-transformers that a test may change."""
    return shutil.copytree(minilm, tmp_path / "stated")


def change(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def test_a_sentence_encoder_is_pooled_and_truncated_as_its_folder_states(minilm: Path) -> None:
    encoder = opened(MINILM)
    info = encoder.info
    assert (info.name, info.kind, info.uri, info.dim) == ("text", "text", MINILM, 384)
    assert info.embeds_text and info.is_unit and not info.embeds_audio
    assert info.licence == "apache-2.0"
    rows = encoder.embed_text(TEXTS)
    np.testing.assert_allclose(rows, expected(minilm, 256, lambda tokens: tokens.mean(dim=0)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(encoder.embed_text([TEXTS[k] for k in order] * 20)[:5], rows[order], rtol=0, atol=1e-6)
    assert encoder.embed_text([]).shape == (0, 384)
    with pytest.raises(MulanError, match="it embeds text alone"):
        encoder.embed_audio(np.zeros((1, 0), np.int16))


def test_the_first_position_can_be_chosen(minilm: Path) -> None:
    encoder = opened(MINILM, pooling="cls")
    rows = encoder.embed_text(TEXTS)
    np.testing.assert_allclose(rows, expected(minilm, 256, lambda tokens: tokens[0]), rtol=0, atol=1e-6)
    assert encoder.info.kind == "text-cls"
    assert encoder.info.sha256 != opened(MINILM).info.sha256


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda tokens: tokens[0]),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, lambda tokens: tokens[-1]),
        ({"pooling_mode": "cls"}, lambda tokens: tokens[0]),
        ({"pooling_mode": ["mean"]}, lambda tokens: tokens.mean(dim=0)),
        ({"word_embedding_dimension": 384}, lambda tokens: tokens.mean(dim=0)),
    ],
)
def test_stated_poolings_of_all_forms(pooling: dict[str, Any], pool: Callable[[Tensor], Tensor], stated: Path) -> None:
    change(stated / "1_Pooling" / "config.json", pooling)
    change(stated / "sentence_bert_config.json", {"max_seq_length": 9})
    np.testing.assert_allclose(opened(str(stated)).embed_text(TEXTS), expected(stated, 9, pool), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "positions"), [("bert", 24), ("roberta", 23), ("distilbert", 24)])
def test_a_plain_encoder_is_pooled_by_the_mean_and_truncated_to_its_positions(
    kind: str, positions: int, tmp_path: Path
) -> None:
    folder = saved(drawn(kind), tmp_path / "plain")
    rows = opened(folder).embed_text(["w1 w2 w3", "w4 " * 40])
    network, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for row, text in zip(rows, ["w1 w2 w3", "w4 " * 40], strict=True):
        ids = tokenizer(text, truncation=True, max_length=positions, return_tensors="pt")["input_ids"]
        assert ids.shape[1] in (5, positions)
        with torch.no_grad():
            vector = network(ids).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(row, vector / vector.norm(), rtol=0, atol=1e-6)


def test_remote_folders_state_their_pooling_too(stated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULAN_CACHE", str(tmp_path / "cache"))
    change(stated / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    uri = f"memory://{uuid.uuid4().hex}/encoder"
    fsspec.filesystem("memory").put(f"{stated}/", f"{uri}/", recursive=True)
    remote, local = opened(uri), opened(str(stated))
    np.testing.assert_array_equal(remote.embed_text(TEXTS[:2]), local.embed_text(TEXTS[:2]))
    assert remote.info.sha256 == local.info.sha256


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "its pooling is max, but only cls, mean and lasttoken are"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "its pooling is cls and mean"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "its pooling is max, but"),
        ("1_Pooling/config.json", [], "module Pooling is missing"),
        ("modules.json", [{"type": "a.Dense", "path": "2_Dense"}], "it has the module Dense of sentence-transformers"),
        ("modules.json", [{"type": "a.Transformer", "path": "0_Transformer"}], "its network is in the folder 0_Transf"),
        ("modules.json", [{"path": ""}], "its files for sentence-transformers cannot be used: KeyError: 'type'"),
        ("modules.json", 3, "its files for sentence-transformers cannot be used: TypeError"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length is 'long'"),
    ],
)
def test_modules_that_are_not_supported_are_named(stated: Path, file: str, content: Any, fault: str) -> None:
    change(stated / file, content)
    with pytest.raises(PretrainedError, match=fault) as caught:
        opened(str(stated))
    assert str(stated) in str(caught.value)
    assert "python=MODULE:FUNCTION" in str(caught.value)


def test_folders_without_a_text_encoder(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="there is no folder"):
        opened(str(tmp_path / "nowhere"))
    with pytest.raises(PretrainedError, match=r"no configuration in .* no weights in .* no tokenizer in"):
        opened(str(tmp_path))
    folder = saved(drawn("gpt2"), tmp_path / "causal")
    with pytest.raises(PretrainedError, match="causal"):
        opened(folder, pooling="cls")
