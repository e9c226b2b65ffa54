import math
from typing import Any

import numpy as np
import pytest

from mulan.config.sections import STORED_SOURCES
from mulan.data.corpus.metadata import SPLITS, check_metadata, split_tag, texts_of
from mulan.data.errors import BadRecording

GOOD: dict[str, Any] = {
    "texts": {"short_form": ["a harp"]},
    "split": "train",
    "tags": ["genre:jazz"],
    "duration_s": 2.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"texts": {}},
        {"texts": {"short_form": []}},
        {"texts": dict.fromkeys(STORED_SOURCES, ("one", " ", "two"))},
        {"duration_s": 3},
        {"duration_s": np.float32(0.5)},
        {"tags": ()},
        {"tags": ["no category", "a:b:c"]},
        {"provenance": "", "licence": "CC0", "anything": [1, {}]},
        *({"split": split} for split in SPLITS),
    ],
)
def test_readable_metadata_are_accepted(changes: dict[str, Any]) -> None:
    metadata = GOOD | changes
    check_metadata(metadata)
    for source, texts in metadata["texts"].items():
        if texts:
            assert texts_of(metadata, source) == [text for text in texts if text.strip()]


def test_split_and_tags_have_defaults() -> None:
    check_metadata({"texts": {}, "duration_s": 1.0})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": None}, "texts is None, not lists"),
        ({"texts": ["a harp"]}, r"texts is \['a harp'\], not lists"),
        ({"texts": {"long_form": "a string"}}, "texts.long_form is 'a string', not a list"),
        ({"texts": {"long_form": None}}, "texts.long_form is None, not a list"),
        ({"texts": {"long_form": {}}}, r"texts.long_form is \{\}, not a list"),
        ({"texts": {"long_form": [None]}}, r"texts.long_form is \[None\], not a list"),
        ({"texts": {"long_form": ["good", 3]}}, "not a list of strings"),
        ({"texts": {"long_form": [""]}}, "texts.long_form is blank"),
        ({"texts": {"long_form": [" \n", "\0"]}}, "texts.long_form is blank"),
        ({"texts": {"long_form": ["\ud83c"]}}, "a lone surrogate"),
        ({"texts": {"caption": ["x"]}}, "texts.caption is not a text source; the sources are short_form"),
        ({"texts": {"longform": ["x"]}}, "did you mean long_form?"),
        ({"texts": {7: ["x"]}}, "texts.7 is not a text source"),
        ({"texts": {"tags": ["x"]}}, "texts.tags is not a text source; give tags beside texts, as the field tags"),
        ({"split": "valid"}, "split is 'valid', not one of train, validation, test; did you mean validation?"),
        ({"split": ""}, "split is ''"),
        ({"split": None}, "split is None"),
        ({"split": ["train"]}, r"split is \['train'\]"),
        ({"tags": "genre:jazz"}, "tags is 'genre:jazz', not a list"),
        ({"tags": None}, "tags is None"),
        ({"tags": [1]}, "not a list of strings"),
        ({"tags": ["\udfb5"]}, "a lone surrogate"),
        ({"tags": ["genre:"]}, "one without text"),
        ({"tags": [""]}, "one without text"),
        *(
            ({"duration_s": value}, "duration_s is .*, not a positive number of seconds")
            for value in (0, -1.0, math.nan, math.inf, True, "2.0", None, [2])
        ),
        ({"provenance": None}, "provenance is None, not Unicode text"),
        ({"licence": "caf\udce9"}, "licence is .*, not Unicode text"),
    ],
)
def test_unusable_metadata_are_rejected(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecording, match=words) as caught:
        check_metadata(GOOD | changes)
    assert caught.value.reason == "unusable metadata"
    str(caught.value).encode()


def test_all_faults_of_metadata_are_listed() -> None:
    with pytest.raises(BadRecording) as caught:
        check_metadata({"texts": {"lyrics": ["la"], "playlist": [""]}, "split": 7, "tags": 3, "duration_s": 0})
    for words in ("texts.lyrics", "texts.playlist", "split is 7", "tags is 3", "duration_s is 0"):
        assert words in caught.value.detail


@pytest.mark.parametrize("texts", [{"short_form": "x"}, {"short_form": [1]}, {}, {"short_form": [" "]}, [], None])
def test_reading_and_writing_reject_the_same_texts(texts: Any) -> None:
    with pytest.raises(BadRecording):
        texts_of({"texts": texts}, "short_form")


def test_the_text_of_a_tag_is_what_follows_its_category() -> None:
    assert split_tag("genre:hard rock") == ("genre", "hard rock")
    assert split_tag("era:1990: late") == ("era", "1990: late")
    assert split_tag("piano") == ("tag", "piano")
    metadata = {"tags": ["genre:hard rock", "piano", "era:1990: late", "mood: "], "texts": "not read"}
    assert texts_of(metadata, "tags") == ["hard rock", "piano", "1990: late"]


@pytest.mark.parametrize("tags", ["genre:jazz", [1], [], [" "], ["genre:"], ["genre:\ud83c"], None])
def test_tags_without_a_readable_text_are_rejected(tags: Any) -> None:
    with pytest.raises(BadRecording, match=r"tags (is|has) "):
        texts_of({"texts": {}, "tags": tags}, "tags")
