"""Tests tokenization with the tokenizer of a recipe: padding, truncation, vocabulary, and the tokens to mask."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mulan.config.sections import BatchConfig, TextTowerConfig
from mulan.data.masking import Masking
from mulan.data.plan import Plan
from mulan.data.streams import Stream, StreamMixture
from mulan.data.text import (
    MAX_CHARACTERS,
    TOKEN_MULTIPLE,
    is_blank,
    is_unicode,
    load_tokenizer,
    load_vocabulary,
    pretrained_tokenizer,
    tokenize,
)
from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.storage.hub import PretrainedError, pretrained_folder
from tests.model.encoders import save_tokenizer


def of_miniature(*settings: str) -> tuple[Masking, Any]:
    recipe = load_recipe("mulap_miniature", settings)
    made = Masking.from_sections(recipe.mulap, recipe.loss.weights, recipe.text_tower, segments=recipe.segments)
    assert made is not None
    return made, load_tokenizer(recipe.text_tower)


def test_the_vocabulary_is_that_of_the_text_tower() -> None:
    made, tokenizer = of_miniature()
    assert made.segments == 3
    assert made.vocabulary.size == tokenizer.tokenizer.get_vocab_size() == 30_522
    assert made.vocabulary.mask_id == tokenizer.tokenizer.token_to_id("[MASK]")
    special = {tokenizer.tokenizer.token_to_id(name) for name in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")}
    assert set(made.vocabulary.special_ids) == special


@pytest.mark.parametrize(
    ("caption", "words"),
    [("", 0), ("   ", 0), ("[SEP][MASK] [PAD]", 0), ("jazz", 1), ("𓂀", 1), ("a calm koto " * 9, 14)],
    ids=["empty", "blank", "special tokens", "one word", "an unknown word", "too long"],
)
def test_only_words_of_a_caption_are_predicted(caption: str, words: int) -> None:
    made, tokenizer = of_miniature("mulap.token_mask_probability=1")
    token_ids, attention_mask = tokenize([caption, "another one"], tokenizer)
    stream, batch = Stream("long_form"), BatchConfig(micro_batches=2, pairs_per_micro_batch=2)
    plan = Plan(StreamMixture({stream: np.arange(50)}, {stream: 1.0}), batch=batch, seed=0, split="train")
    hidden, masks = made(plan, 0, 0, token_ids=token_ids, attention_mask=attention_mask, matched=np.ones(2, bool))
    predicted = masks.token_targets[0] != -100
    assert predicted.sum() == words
    assert masks.token_targets[0][predicted].tolist() == token_ids[0, 1 : 1 + words].tolist()
    assert np.array_equal(hidden[0][~predicted], token_ids[0][~predicted])
    assert (masks.token_targets[1] != -100).sum() == 2


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "kept"),
    [([3, 5, 2], 32, 8), ([8, 2], 32, 8), ([9, 2], 32, 16), ([40, 3], 32, 32), ([9, 3], 12, 12), ([5, 3], 6, 6)],
)
def test_texts_are_padded_to_the_longest_text(lengths: list[int], max_tokens: int, kept: int) -> None:
    """The length is rounded up to a multiple of 8, within ``max_tokens``."""
    _, tokenizer = of_miniature(f"text_tower.max_tokens={max_tokens}")
    texts = [" ".join(["jazz"] * (length - 2)) for length in lengths]
    reference = AutoTokenizer.from_pretrained(pretrained_folder(MINILM))
    full = reference(texts, truncation=True, padding="max_length", max_length=max_tokens, return_tensors="np")
    longest = full["attention_mask"].sum(axis=1).max()
    needed = min(max_tokens, -(-longest // 8) * 8)
    token_ids, attention_mask = tokenize(texts, tokenizer)
    assert token_ids.shape == attention_mask.shape == (len(lengths), kept) and needed == kept
    assert token_ids.dtype == attention_mask.dtype == np.int64
    assert np.array_equal(token_ids, full["input_ids"][:, :needed])
    assert np.array_equal(attention_mask, full["attention_mask"][:, :needed])
    assert not full["attention_mask"][:, needed:].any()
    assert kept - longest < TOKEN_MULTIPLE


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        ("", True), (" \t\r\n", True), ("\u00a0\u3000\u2028", True), ("\0\x07\x1b", True), ("\u200b\u200f\ufeff", True),
        ("\ufffd", True), ("\ue000", True), ("a", False), (" . ", False), ("\0a", False), ("🎵", False),
        ("موسيقى", False), ("音", False),
    ],
)  # fmt: skip
def test_blank_texts_have_no_tokens(text: str, blank: bool) -> None:
    _, tokenizer = of_miniature()
    _, mask = tokenize([text], tokenizer)
    assert (mask.sum() == 2) == is_blank(text) == blank


def test_half_of_a_surrogate_pair_is_not_unicode() -> None:
    assert [is_unicode(text) for text in ("", "jazz 🎵", "\ud83c", "jazz \udfb5")] == [True, True, False, False]


@pytest.mark.parametrize(
    "part",
    ["a calm koto ", "🎵 🎹 ", "🎵", "موسيقى هادئة ", "音楽", "a\0b\x07 ", "a\u0301", "!?", "\u202eabc\u202c ", "x"],
)
def test_a_long_text_is_truncated_to_its_first_tokens(part: str) -> None:
    _, tokenizer = of_miniature("text_tower.max_tokens=128")
    whole = part * (100_000 // len(part))
    (ids,), (mask,) = tokenize([whole], tokenizer)
    reference = AutoTokenizer.from_pretrained(pretrained_folder(MINILM))(whole, truncation=True, max_length=128)
    assert ids[mask == 1].tolist() == reference["input_ids"]


def test_a_bounded_number_of_characters_is_tokenized() -> None:
    """A word after 20,000 spaces is ignored, because tokenizers read a text of any length before they truncate it."""
    _, tokenizer = of_miniature()
    texts = [" " * spaces + "jazz" for spaces in (MAX_CHARACTERS - 4, MAX_CHARACTERS)]
    assert tokenize(texts, tokenizer)[1].sum(axis=1).tolist() == [3, 2]
    assert [is_blank(text) for text in texts] == [False, True]


def test_a_vocabulary_without_a_mask_token_is_rejected(tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "jazz": 4}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(PretrainedError) as caught:
        of_miniature(f"text_tower.pretrained={tmp_path}")
    assert str(caught.value) == (
        f"pretrained '{tmp_path}': its tokenizer has no [MASK]. "
        "Masked terms need a BERT-type encoder; name one in text_tower.pretrained."
    )


def section_with(folder: Path, **tokenizer: Any) -> TextTowerConfig:
    """Saves a tokenizer, with only those files of the network that are checked; returns a section for 8 tokens."""
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").touch()
    save_tokenizer(folder, **tokenizer)
    return TextTowerConfig(pretrained=str(folder), max_tokens=8)


def test_a_prefix_precedes_every_text_and_counts_as_tokens(tmp_path: Path) -> None:
    section = section_with(tmp_path).replace({"prefix": "w5 w6 "})
    token_ids, mask = tokenize(["w1 w2", "", "w1 " * 30], load_tokenizer(section))
    assert token_ids.tolist() == [[2, 10, 11, 6, 7, 3, 0, 0], [2, 10, 11, 3, 0, 0, 0, 0], [2, 10, 11, 6, 6, 6, 6, 3]]
    assert mask.sum(axis=1).tolist() == [6, 4, 8]


def test_all_characters_of_a_text_are_tokenized_after_a_prefix() -> None:
    _, tokenizer = of_miniature()
    prefixed = dataclasses.replace(tokenizer, prefix="a calm ")
    text = " " * (MAX_CHARACTERS - 4) + "jazz"
    assert prefixed([text, text + " piano"]) == tokenizer(["a calm jazz", "a calm jazz"])


def test_blanks_in_a_prefix_are_tokens_if_they_are_in_a_text(tmp_path: Path) -> None:
    section = section_with(tmp_path)
    assert np.array_equal(*(tokenize(["w1"], load_tokenizer(section.replace(prefix=p)))[0] for p in ("", "  ")))


@pytest.mark.parametrize(("words", "fits"), [(5, True), (6, False), (60, False)])
def test_a_prefix_that_leaves_no_token_for_a_text_is_rejected(words: int, fits: bool, tmp_path: Path) -> None:
    section = section_with(tmp_path).replace(prefix="w1 " * words)
    if fits:
        assert tokenize(["w2 w3"], load_tokenizer(section))[0].tolist() == [[2, *[6] * 5, 7, 3]]
        return
    with pytest.raises(PretrainedError) as caught:
        load_tokenizer(section)
    assert str(caught.value) == (
        f"pretrained '{tmp_path}': text_tower.prefix and the special tokens fill text_tower.max_tokens = 8. "
        "Shorten the prefix, or set text_tower.max_tokens higher."
    )


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_text_without_tokens_is_a_padding_token(pooling: Any, tmp_path: Path) -> None:
    section = section_with(tmp_path, template="$A").replace(pooling=pooling)
    token_ids, mask = tokenize(["", "w1 w2"], load_tokenizer(section))
    assert token_ids[:, :3].tolist() == [[0, 0, 0], [6, 7, 0]]
    assert mask.sum(axis=1).tolist() == [1, 2]
    assert tokenize([""], load_tokenizer(section))[1].tolist() == [[1] + [0] * 7]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sentence_token_is_first_on_any_truncation_or_padding_side(side: str, tmp_path: Path) -> None:
    section = section_with(tmp_path, padding_side=side, truncation_side=side)
    token_ids, mask = tokenize(["w1 w2", "w1 w2 w3 w4 w5 w6 w7 w8"], load_tokenizer(section))
    assert token_ids.tolist() == [[2, 6, 7, 3, 0, 0, 0, 0], [2, 6, 7, 8, 9, 10, 11, 3]]
    assert mask.sum(axis=1).tolist() == [4, 8]
    assert pretrained_tokenizer(section.pretrained).truncation_side == "right"


def test_a_tokenizer_without_padding_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"no padding token\. .*add_special_tokens"):
        load_tokenizer(section_with(tmp_path, pad_token=None))


def test_a_tokenizer_without_padding_pads_by_its_end_token(tmp_path: Path) -> None:
    section = section_with(tmp_path, pad_token=None, eos_token="[SEP]")
    with pytest.raises(PretrainedError, match=r"no padding token\. .*set tokenizer\.pad_token = tokenizer\.eos_token"):
        load_tokenizer(section)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    token_ids, mask = tokenize(["w1"], load_tokenizer(section))
    assert token_ids.tolist() == [[2, 6, 3, 3, 3, 3, 3, 3]]
    assert mask.sum() == 3


def test_an_end_token_that_truncation_removes_is_rejected(tmp_path: Path) -> None:
    """Its normalizer appends the end token, so that it counts as a part of the text."""
    section = section_with(tmp_path, template="[CLS] $A")
    file = tmp_path / "tokenizer.json"
    values = json.loads(file.read_text())
    values["normalizer"] = {"type": "Replace", "pattern": {"Regex": "$"}, "content": " w9"}
    file.write_text(json.dumps(values))
    load_tokenizer(section)
    with pytest.raises(PretrainedError, match="ends a text with a token that truncation removes"):
        load_tokenizer(section.replace(pooling="last"))


@pytest.mark.parametrize("template", ["$A [SEP] [CLS]", "$A"])
def test_a_tokenizer_without_a_sentence_token_is_rejected(template: str, tmp_path: Path) -> None:
    section = section_with(tmp_path, template=template)
    with pytest.raises(
        PretrainedError, match=r"no special token before a text.* mean and last need no.* BERT, RoBERTa"
    ):
        load_tokenizer(section)
    for pooling in ("mean", "last"):
        assert load_tokenizer(section.replace(pooling=pooling)) is not None


def test_a_tokenizer_without_a_fast_version_is_rejected(tmp_path: Path) -> None:
    section = section_with(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(PretrainedError, match="CanineTokenizer, is written in Python"):
        load_tokenizer(section)


@pytest.mark.parametrize("load", [load_tokenizer, load_vocabulary])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", ""),
        ("tokenizer.json", "\0\0"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"tokenizer_class": 5}'),
        ("config.json", "[1]"),
        ("config.json", "[" * 100_000),
    ],
)
def test_unreadable_files_of_a_tokenizer_are_rejected(load: Any, file: str, content: str, tmp_path: Path) -> None:
    section = section_with(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(PretrainedError, match="its tokenizer cannot be loaded: ") as caught:
        load(section)
    assert "\n" not in str(caught.value)


def test_a_panic_of_the_tokenizer_is_an_error(tmp_path: Path) -> None:
    """Its template contains an undefined token, for which the library's Rust code panics."""
    section = section_with(tmp_path)
    file = tmp_path / "tokenizer.json"
    values = json.loads(file.read_text())
    values["post_processor"]["special_tokens"] = {}
    file.write_text(json.dumps(values))
    with pytest.raises(PretrainedError, match="its tokenizer cannot be loaded: PanicException"):
        load_tokenizer(section)


def test_code_in_the_folder_of_a_tokenizer_is_not_run(tmp_path: Path) -> None:
    section = section_with(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Mine", "pad_token": "[PAD]", "auto_map": {"AutoTokenizer": [null, "mine.Mine"]}}'
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('code of the folder is run')")
    assert load_tokenizer(section) is not None
