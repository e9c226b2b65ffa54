"""Tests the micro-batch reader on a corpus whose recordings have tags and no texts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from mulan.data.corpus.writing import write_corpus
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.storage.hub import pretrained_folder
from tests.conftest import PITCHES, tone_recording

TAGS_ALONE = [
    "data.source_ratio={short_form=0, long_form=0, playlist=0, audioset=0, tags=1}",
    "data.text_sampling=subset",
    "train.validation_micro_batches=2",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of 24 training recordings, every third without tags, and 6 validation recordings."""
    uri = str(tmp_path_factory.mktemp("tagged") / "corpus")
    tones = (tone_recording(number, "validation" if number >= 24 else "train") for number in range(30))
    write_corpus((replace(one, texts={}, tags=one.tags if n % 3 else []) for n, one in enumerate(tones)), uri)
    return uri


@pytest.fixture(scope="module")
def words(corpus: str) -> dict[tuple[int, ...], str]:
    """The text of each sequence of token ids that the corpus can give."""
    tokenizer: Any = AutoTokenizer.from_pretrained(pretrained_folder(MINILM))
    texts = [text for pitch in PITCHES for genre in ("tone", "drone") for text in subsets(pitch, genre)]
    return {tuple(tokenizer(text, padding="max_length", max_length=8)["input_ids"]): text for text in texts}


def subsets(pitch: str, genre: str) -> list[str]:
    return [pitch, genre, f"{pitch}, {genre}", f"{genre}, {pitch}"]


def test_texts_are_subsets_of_the_tags_without_categories(corpus: str, words: dict[tuple[int, ...], str]) -> None:
    reader = MicroBatchReader.from_recipe(load_recipe("demo_miniature", TAGS_ALONE, data_uri=corpus))
    seen, forms = set[str](), Counter[str]()
    for item in [Item(Phase.TRAIN, step, micro_batch) for step in range(12) for micro_batch in range(2)]:
        batch = reader(item)
        for name, token_ids in zip(batch.recording_id, batch.token_ids.tolist(), strict=True):
            number = int(name.removeprefix("tone-"))
            pitch, genre = list(PITCHES)[number % 4], "tone" if number % 2 else "drone"
            text = words[tuple(token_ids)]
            assert text in subsets(pitch, genre)
            forms[text.replace(pitch, "pitch").replace(genre, "genre")] += 1
            seen.add(name)
    assert seen == {f"tone-{number:03d}" for number in range(24) if number % 3}
    assert forms.keys() == set(subsets("pitch", "genre"))
    assert forms["pitch"] + forms["genre"] == pytest.approx(forms.total() / 2, rel=0.2)


def test_validation_has_one_tag_each(corpus: str, words: dict[tuple[int, ...], str]) -> None:
    reader = MicroBatchReader.from_recipe(load_recipe("demo_miniature", TAGS_ALONE, data_uri=corpus))
    batches = [reader(Item(Phase.VALIDATE, 3, micro_batch)) for micro_batch in range(2)]
    assert {name for batch in batches for name in batch.recording_id} <= {f"tone-{n:03d}" for n in range(24, 30)}
    texts = [words[tuple(token_ids)] for batch in batches for token_ids in batch.token_ids.tolist()]
    assert set(texts) <= {*PITCHES, "tone", "drone"} and len(set(texts)) > 2


def test_a_corpus_without_tags_is_refused(tmp_path: Path) -> None:
    untagged = (replace(tone_recording(number, "train"), tags=[]) for number in range(3))
    write_corpus(untagged, str(tmp_path))
    with pytest.raises(ValueError, match=r"no train recording has tags; set data\.source_ratio\.tags=0"):
        MicroBatchReader.from_recipe(
            load_recipe("demo_miniature", ["data.source_ratio.tags=1", *TAGS_ALONE[2:]], data_uri=str(tmp_path))
        )
