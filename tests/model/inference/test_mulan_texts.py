"""Tests that an exported model tokenizes, pools and encodes texts as in training, with encoders of all kinds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from mulan.data.text import load_tokenizer
from mulan.model.inference.mulan import MuLan
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import pretrained_folder
from tests.model.encoders import drawn, saved
from tests.model.small import RESNET, export_untrained, small_recipe

TEXTS = ["sad piano", "A fast and furious drum solo, recorded live in a very small room with far too much reverb.", ""]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_text_is_pooled_as_in_training(pooling: str, tmp_path: Path) -> None:
    model, folder = export_untrained(small_recipe(RESNET).replace({"text_tower.pooling": pooling}), tmp_path)
    model.eval()
    loaded = MuLan.from_pretrained(folder, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(pretrained_folder(MINILM), local_files_only=True)
    for text, vector in zip(TEXTS, loaded.embed_text(TEXTS), strict=True):
        tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        outputs = model.text_tower.tokens(tokens["input_ids"], tokens["attention_mask"])
        sentence = outputs.mean(dim=1) if pooling == "mean" else outputs[:, -1]
        expected = torch.nn.functional.normalize(model.text_projection(sentence))
        np.testing.assert_allclose(vector, expected[0].detach(), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "pooling", "template"),
    [
        ("deberta-v2", "cls", "[CLS] $A [SEP]"), ("distilbert", "cls", "[CLS] $A [SEP]"),
        ("gemma3_text", "mean", "[CLS] $A"), ("llama", "last", "[CLS] $A"), ("modernbert", "mean", "[CLS] $A [SEP]"),
        ("mpnet", "mean", "[CLS] $A [SEP]"), ("qwen3", "last", "$A [SEP]"), ("t5", "mean", "$A [SEP]"),
        ("umt5", "mean", "$A"), ("xlm-roberta", "cls", "[CLS] $A [SEP]"),
    ],
)  # fmt: skip
def test_encoders_of_all_kinds_are_exported(kind: str, pooling: str, template: str, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path / "pretrained", template=template)
    changes = {"text_tower.pretrained": spec, "text_tower.layers": 0, "text_tower.pooling": pooling}
    recipe = small_recipe(RESNET).replace(changes)
    model, folder = export_untrained(recipe, tmp_path / "exported")
    for parameter in model.parameters():  # those read from a file are not aligned, for which kernels may add otherwise
        parameter.data = parameter.data.clone()
    loaded, tokenizer = MuLan.from_pretrained(folder, device="cpu"), load_tokenizer(recipe.text_tower)
    assert tokenizer is not None
    for text in ("w1 w2 w3", "w4 " * 40, ""):
        token_ids = torch.tensor(tokenizer([text]))
        with torch.inference_mode():  # with gradients, attention is computed by another kernel
            expected = model.eval().embed_text(token_ids, torch.ones_like(token_ids))
        np.testing.assert_array_equal(loaded.embed_text([text]), expected)


def test_a_prefix_precedes_every_text(loaded: MuLan, tmp_path: Path) -> None:
    _, folder = export_untrained(small_recipe(RESNET).replace({"text_tower.prefix": "query: "}), tmp_path)
    prefixed = MuLan.from_pretrained(folder, device="cpu").embed_text(TEXTS)
    np.testing.assert_array_equal(prefixed, loaded.embed_text([f"query: {text}" for text in TEXTS]))


def test_a_model_exported_without_the_fields_is_pooled_at_its_first_position_and_has_no_prefix(
    loaded: MuLan, tmp_path: Path
) -> None:
    _, folder = export_untrained(small_recipe(RESNET), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["pooling"], config["prefix"]
    (folder / "config.json").write_text(json.dumps(config))
    earlier = MuLan.from_pretrained(folder, device="cpu")
    np.testing.assert_array_equal(earlier.embed_text(TEXTS), loaded.embed_text(TEXTS))
