"""Tests that batches do not depend on how their recordings are fetched."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.data.corpus.writing import write_corpus
from mulan.data.groups import batches, make_group
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.registry import load_recipe
from tests.conftest import tone_recording
from tests.data.same_batches import assert_equal

WITHOUT_VALIDATION = ["train.validation_micro_batches=0", "train.validate_every_steps=0"]
ITEMS = [Item(Phase.TRAIN, step, micro_batch) for step in range(4) for micro_batch in range(3)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> MicroBatchReader:
    """Reads batches of 6 from 12 recordings, of which 2 are replaced."""
    uri = str(tmp_path_factory.mktemp("fetching") / "corpus")
    recordings = [tone_recording(number, "train") for number in range(12)]
    for bad in (3, 4):
        recordings[bad] = replace(recordings[bad], audio=recordings[bad].audio[:1000])
    write_corpus(recordings, uri, recordings_per_shard=5)
    settings = ["scale.workers=1", "batch.micro_batches=3", "batch.pairs_per_micro_batch=6"]
    return MicroBatchReader.from_recipe(load_recipe("demo_miniature", [*settings, *WITHOUT_VALIDATION], data_uri=uri))


@pytest.mark.parametrize(("max_bytes", "largest"), [(1, 1), (150_000, 4), (10**9, 6)])
def test_batches_are_the_same_in_whatever_parts_they_are_fetched(
    reader: MicroBatchReader, max_bytes: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group from an object store, parts are fetched by another thread while others are decoded."""
    expected = [reader(item) for item in ITEMS]
    assert any(batch.skipped for batch in expected)
    monkeypatch.setattr("mulan.data.reader.FETCH_BYTES", max_bytes)
    parts = [list(reader.fetch(item)) for item in ITEMS]
    sizes = [[len(part.fragments) for part in of_item] for of_item in parts]
    assert {sum(some) for some in sizes} == {6}
    assert max(map(max, sizes)) == largest
    for item, of_item, reference in zip(ITEMS, parts, expected, strict=True):
        assert_equal(reader.decode(item, of_item, np.empty(reader.waveform_shape, np.int16)), reference)
    for is_local in (True, False):
        monkeypatch.setitem(vars(reader), "is_local", is_local)
        for batch, reference in zip(batches([make_group(reader, ITEMS)]), expected, strict=True):
            assert_equal(batch, reference)


def test_only_shards_on_the_local_file_system_are_local(reader: MicroBatchReader, tmp_path: Path) -> None:
    assert reader.is_local
    corpus = replace(reader.corpus, uri="s3://bucket/corpus")
    assert not replace(reader, corpus=corpus).is_local
