"""Tests the measurement of reading with a reader that is known to wait, and its texts against the reader's."""

import time
from dataclasses import dataclass

import numpy as np
import pytest

from mulan.data.batch import Batch
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item
from mulan.planning import reading_cost
from mulan.planning.reading_cost import MIN_MICRO_BATCHES, measure_reading
from tests.planning.planned import miniature_recipe

WAIT_S = 0.2


@dataclass
class WaitingReader:
    """A reader that waits before it reads, like one of a distant storage."""

    reader: MicroBatchReader
    items: list[Item]

    def __call__(self, item: Item) -> Batch:
        self.items.append(item)
        time.sleep(WAIT_S)
        return self.reader(item)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_cost, "MEASURED_S", 0.0)


def test_waiting_counts_for_the_time_but_not_for_the_cpu_time(tiny_corpus: str) -> None:
    reader = WaitingReader(MicroBatchReader.from_recipe(miniature_recipe(tiny_corpus)), [])
    cost = measure_reading(reader, steps=6, micro_batches=2)  # type: ignore[arg-type]
    assert (cost.pairs, len(reader.items)) == (8 * MIN_MICRO_BATCHES, MIN_MICRO_BATCHES + 1)
    assert cost.wall_s - cost.cpu_s >= 0.5 * WAIT_S / 8
    assert cost.cpu_s > 0
    assert {(item.step < 6, item.micro_batch < 2) for item in reader.items} == {(True, True)}


def test_texts_are_those_of_the_micro_batches(tiny_corpus: str) -> None:
    plain = MicroBatchReader.from_recipe(miniature_recipe(tiny_corpus))
    reader = WaitingReader(plain, [])
    cost = measure_reading(reader, steps=6, micro_batches=2)  # type: ignore[arg-type]
    masks = [plain(item).attention_mask for item in reader.items[1:]]
    assert cost.mean_tokens == np.mean([length for mask in masks for length in mask.sum(axis=1)])
    assert all(batch.waveform.size == 0 for batch in cost.batches)
