"""The micro-batch reader: equal to a slow twin that makes one pair at a time, and unmoved by bad recordings."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from mulan.config.pretrained import pretrained_folder
from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import MINILM, named_recipes
from mulan.data.audio import decode_window
from mulan.data.batch import Replaced
from mulan.data.errors import TooManyBadRecordings
from mulan.data.examples import MAX_REPLACEMENTS, MicroBatchReader
from mulan.data.index import INDEX_NAME, Corpus, write_index
from mulan.data.plan import Example, PlanError
from mulan.data.schedule import Item, Phase
from mulan.data.shards import Recording, read_record, write_corpus
from tests.conftest import tone_recording

PLANTED = {
    "tone-000": "undecodable audio",
    "tone-003": "truncated audio",
    "tone-005": "missing shard",
    "tone-007": "truncated shard",
    "tone-010": "text of the wrong type",
}
WRONG_TEXT_SOURCE = "short_form"
"""The one source that is bad in the last of the planted recordings."""


def planted_recording(number: int) -> Recording:
    recording = tone_recording(number, "validation" if number >= 12 else "train")
    match PLANTED.get(recording.recording_id):
        case "undecodable audio":
            return replace(recording, audio=b"not audio at all" * 100)
        case "truncated audio":  # every window of the length of the whole recording meets the cut
            return replace(recording, audio=recording.audio[: len(recording.audio) // 2])
        case "text of the wrong type":
            return replace(recording, texts=dict(recording.texts) | {WRONG_TEXT_SOURCE: "not a list"})
    return recording


@pytest.fixture(scope="module")
def planted_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """12 recordings for training, 5 of them bad in a way of their own, and 4 for validation."""
    uri = str(tmp_path_factory.mktemp("planted") / "corpus")
    write_corpus(map(planted_recording, range(16)), uri, recordings_per_shard=5)
    rows = Corpus.open(uri).table.to_pylist()
    for row in rows:
        match PLANTED.get(row["recording_id"]):
            case "missing shard":
                row["uri"] = "shards/99999.tar"
            case "truncated shard":
                row["offset"] = 10**9
    write_index(pa.Table.from_pylist(rows), uri)
    return uri


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["data.window_s=2.0", "batch.micro_batches=3", "batch.pairs_per_micro_batch=6", "train.steps=12"]
    common += ["scale.workers=1", "text_tower.max_tokens=12", "train.validation_micro_batches=2"]
    return load_recipe("demo_miniature", named_recipes(), [*common, *settings], data_uri=uri)


def reader_of(recipe: Recipe) -> MicroBatchReader:
    return MicroBatchReader.of(recipe)


def is_bad(name: str, source: str) -> bool:
    return name in PLANTED and (PLANTED[name] != "text of the wrong type" or source == WRONG_TEXT_SOURCE)


def slow_twin(reader: MicroBatchReader, item: Item) -> tuple[list[Example], list[str], Counter[tuple[str, str]]]:
    """The examples and names of a micro-batch, and the name and reason of each that had to be replaced."""
    plan, step = reader.plans[item.phase], item.step if item.phase is Phase.TRAIN else 0
    examples, names, replaced = [], [], Counter[tuple[str, str]]()
    ids = reader.corpus.table["recording_id"].to_pylist()
    for position, planned in enumerate(plan.micro_batch(step, item.micro_batch)):
        example, attempt = planned, 0
        while is_bad(ids[example.row], planned.source):
            replaced[ids[example.row], PLANTED[ids[example.row]]] += 1
            attempt += 1
            example = plan.replacement(step, item.micro_batch, position, planned.source, attempt)
        examples.append(example)
        names.append(ids[example.row])
    return examples, names, replaced


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(pretrained_folder(MINILM))


def tokens(text: str, tokenizer: Any, *, max_tokens: int) -> tuple[list[int], list[int]]:
    """Ids and mask of one text, cut and padded by hand."""
    ids = tokenizer(text)["input_ids"]
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    return ids + [0] * (max_tokens - len(ids)), [1] * len(ids) + [0] * (max_tokens - len(ids))


TRAINING = [Item(Phase.TRAIN, step, micro_batch) for step in range(12) for micro_batch in range(3)]


def test_batches_are_those_of_the_slow_twin(planted_corpus: str, tokenizer: Any) -> None:
    section = recipe(planted_corpus)
    reader = reader_of(section)
    seen = Counter[str]()
    for item in TRAINING:
        examples, names, replaced = slow_twin(reader, item)
        batch = reader(item)
        assert batch.item == item
        assert batch.pairs == 6
        assert list(batch.recording_id) == names
        assert Counter((bad.recording_id, bad.reason) for bad in batch.replaced) == replaced
        assert all(isinstance(bad, Replaced) and bad.detail for bad in batch.replaced)
        seen.update(bad.reason for bad in batch.replaced)
        for place, example in enumerate(examples):
            record = read_record(reader.corpus, example.row)
            window = np.empty(32_000, np.int16)
            decode_window(record.audio, window, draw=example.window_draw, sample_rate_hz=16_000)
            assert np.array_equal(batch.waveform[place], window[None])
            texts = record.texts(example.source)
            text = texts[int(example.text_draw * len(texts))]
            ids, mask = tokens(text, tokenizer, max_tokens=12)
            assert (batch.token_ids[place].tolist(), batch.attention_mask[place].tolist()) == (ids, mask)
    assert set(seen) == set(PLANTED.values())  # every fault was met


def test_what_stands_in_is_good_and_of_the_same_source(planted_corpus: str) -> None:
    reader = reader_of(recipe(planted_corpus))
    ids = np.array(reader.corpus.table["recording_id"].to_pylist())
    by_source = reader.corpus.rows_by_source("train")
    for item in TRAINING:
        planned = reader.plans[Phase.TRAIN].micro_batch(item.step, item.micro_batch)
        for example, name in zip(planned, reader(item).recording_id, strict=True):
            assert name in ids[by_source[example.source]]
            assert not is_bad(name, example.source)
            assert name == ids[example.row] or is_bad(ids[example.row], example.source)


def content(reader: MicroBatchReader, item: Item) -> dict[str, bytes]:
    return {name: np.asarray(values).tobytes() for name, values in reader(item).to_columns().items()}


def test_the_same_item_gives_the_same_batch(planted_corpus: str) -> None:
    one, other = reader_of(recipe(planted_corpus)), reader_of(recipe(planted_corpus))
    forwards = [content(one, item) for item in TRAINING[:6]]
    assert [content(other, item) for item in reversed(TRAINING[:6])] == forwards[::-1]
    assert content(reader_of(recipe(planted_corpus, "train.seed=1")), TRAINING[0]) != forwards[0]


def test_every_validation_repeats_the_same_pairs(planted_corpus: str) -> None:
    reader = reader_of(recipe(planted_corpus))
    validations = [[reader(Item(Phase.VALIDATE, step, part)) for part in range(2)] for step in (3, 6, 12)]
    names = {name for batches in validations for batch in batches for name in batch.recording_id}
    assert names <= {f"tone-{number:03d}" for number in range(12, 16)}
    for batches in validations[1:]:
        for batch, first in zip(batches, validations[0], strict=True):
            assert batch.recording_id == first.recording_id
            assert np.array_equal(batch.waveform, first.waveform)
            assert np.array_equal(batch.token_ids, first.token_ids)
    assert not np.array_equal(validations[0][0].waveform, validations[0][1].waveform)


def test_a_corpus_that_is_all_bad_ends_with_the_last_reason(planted_corpus: str, tmp_path: Path) -> None:
    shutil.copy(Path(planted_corpus) / INDEX_NAME, tmp_path)
    reader = reader_of(recipe(str(tmp_path)))
    with pytest.raises(TooManyBadRecordings) as caught:
        reader(TRAINING[0])
    assert str(tmp_path) in str(caught.value)
    assert f"{MAX_REPLACEMENTS} recordings in a row" in str(caught.value)
    assert "missing shard" in str(caught.value)


def test_plans_insist_on_a_split_for_validation(tmp_path: Path) -> None:
    write_corpus((tone_recording(number, "train") for number in range(3)), str(tmp_path))
    with pytest.raises(PlanError, match="no validation recording has short_form texts"):
        reader_of(recipe(str(tmp_path)))
    assert set(reader_of(recipe(str(tmp_path), "train.validation_micro_batches=0")).plans) == {Phase.TRAIN}
