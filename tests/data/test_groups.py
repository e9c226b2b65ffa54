"""Tests the sizes, workers and order of groups of micro-batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from ray.data.block import BlockAccessor

from mulan.config.sections import BatchConfig, TrainConfig
from mulan.data.batch import Batch, Masks
from mulan.data.groups import GROUP_BYTES, Groups, batches, group_size, make_group
from mulan.data.pipeline import columns
from mulan.data.reader import Fetched
from mulan.data.schedule import Item, Phase, Schedule
from tests.data.same_batches import assert_equal


@pytest.mark.parametrize(
    ("pairs", "views", "samples", "size"),
    [(64, 1, 160_000, 3), (32, 1, 160_000, 6), (32, 2, 160_000, 3), (32, 1, 48_000, 21), (2**12, 1, 160_000, 1)],
)
def test_a_group_is_as_large_as_the_limit_allows(pairs: int, views: int, samples: int, size: int) -> None:
    assert group_size((pairs, views, samples)) == size
    assert size == 1 or size * pairs * views * samples * 2 <= GROUP_BYTES


class Reader:
    """A reader of texts whose number of tokens depends on the micro-batch, which is fetched in two parts."""

    waveform_shape = (2, 1, 50)
    is_local = False

    def fetch(self, item: Item) -> Iterator[Fetched]:
        for pair in range(2):
            yield Fetched(item, pair, [], [])

    def decode(self, item: Item, fetched: Iterable[Fetched], waveform: np.ndarray) -> Batch:
        assert [(part.item, part.first) for part in fetched] == [(item, 0), (item, 1)]
        rng = np.random.default_rng(item.micro_batch)
        waveform[:] = rng.integers(-999, 999, waveform.shape)
        token_ids = rng.integers(1, 999, (2, item.micro_batch))
        masks = Masks(token_ids - 1, np.ones((2, 3), np.uint8), np.ones(2, np.uint8))
        ids = ("a", f"b{item.micro_batch}")
        return Batch(item, waveform, token_ids, np.ones_like(token_ids), np.ones((2, 4), np.uint8), ids, (), masks)


@pytest.mark.parametrize("lengths", [[8, 16, 8], [16, 16], [8], [0, 0]])
def test_a_block_contains_its_micro_batches_for_texts_of_any_length(lengths: list[int]) -> None:
    reader: Any = Reader()
    items = [Item(Phase.TRAIN, step, length) for step, length in enumerate(lengths)]
    expected = [reader.decode(item, reader.fetch(item), np.empty(reader.waveform_shape, np.int16)) for item in items]
    group = make_group(reader, items)
    for block in (group, columns(BlockAccessor.batch_to_block(group))):
        made = list(batches([block]))
        assert len(made) == len(expected)
        for batch, reference in zip(made, expected, strict=True):
            assert_equal(batch, reference)


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (2, 3), (4, 2), (2, 1000)])
def test_groups_are_in_the_order_in_which_the_workers_need_them(workers: int, size: int) -> None:
    train = TrainConfig(steps=5, validate_every_steps=2, validation_micro_batches=4)
    schedules = [Schedule(train, BatchConfig(micro_batches=4), rank, workers, first_step=1) for rank in range(workers)]
    groups = Groups(schedules[-1], size)
    for rank, schedule in enumerate(schedules):
        numbers = [groups.number(rank, place) for place in range(groups.groups_per_worker)]
        expected = [schedule[number] for number in range(len(schedule))]
        assert [item for number in numbers for item in groups.items(number)] == expected
    all_numbers = [groups.number(rank, place) for place in range(groups.groups_per_worker) for rank in range(workers)]
    assert all_numbers == list(range(len(groups)))
