"""Tests an encoder with a multilingual Unigram vocabulary, such as XLM-RoBERTa's, on texts in several scripts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.trainers import UnigramTrainer
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

from mulan.config.sections import Pooling, TextTowerConfig
from mulan.data.text import load_tokenizer, pretrained_tokenizer, tokenize
from mulan.model.towers.text import TextTower

TEXTS = [
    "slow sad piano", "langsames, trauriges Klavier", "медленное грустное пианино", "αργό λυπημένο πιάνο",
    "スローで悲しいピアノ", "缓慢悲伤的钢琴", "بيانو حزين وبطيء", "פסנתר איטי ועצוב", "느리고 슬픈 피아노",
    "धीमा उदास पियानो",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-RoBERTa with a tokenizer of its class, whose vocabulary is trained on the texts."""
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(TEXTS * 3, trainer)
    vocabulary = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = XLMRobertaTokenizer(vocab=[*vocabulary, ("<mask>", 0.0)])
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    network = XLMRobertaModel(
        XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **sizes)
    )
    folder = tmp_path_factory.mktemp("multilingual")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_texts_of_every_script_have_tokens_of_their_own(folder: Path) -> None:
    tokenizer = load_tokenizer(TextTowerConfig(pretrained=str(folder), max_tokens=48))
    token_ids, mask = tokenize(TEXTS, tokenizer)
    reference = AutoTokenizer.from_pretrained(folder)
    for text, ids, kept in zip(TEXTS, token_ids, mask, strict=True):
        own = ids[kept == 1].tolist()
        assert own == reference(text)["input_ids"]
        assert reference.unk_token_id not in own
        assert reference.decode(own, skip_special_tokens=True) == text
    assert len({tuple(ids) for ids in token_ids.tolist()}) == len(TEXTS)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_text_is_represented_as_by_the_network(pooling: Pooling, folder: Path) -> None:
    section = TextTowerConfig(pretrained=str(folder), max_tokens=48, pooling=pooling, prefix="piano ")
    tower, network = TextTower.from_section(section).eval(), XLMRobertaModel.from_pretrained(folder).eval()
    token_ids, mask = (torch.from_numpy(array) for array in tokenize(TEXTS, load_tokenizer(section)))
    reference = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        vectors = tower(token_ids, mask)
        for text, vector in zip(TEXTS, vectors, strict=True):
            outputs = network(**reference(f"piano {text}", return_tensors="pt")).last_hidden_state[0]
            expected = outputs[0] if pooling == "cls" else outputs.mean(dim=0)
            torch.testing.assert_close(vector, expected, atol=2e-6, rtol=1e-5)


def test_a_saved_tokenizer_without_the_network_is_the_same(folder: Path, tmp_path: Path) -> None:
    """An exported model holds the tokenizer in a folder of its own."""
    pretrained_tokenizer(str(folder)).save_pretrained(tmp_path)
    exported = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        np.testing.assert_array_equal(exported(text)["input_ids"], pretrained_tokenizer(str(folder))(text)["input_ids"])
