"""Groups of micro-batches: how large, whose, and in what order."""

import pytest

from mulan.config.sections import BatchConfig, TrainConfig
from mulan.data.groups import GROUP_BYTES, Groups, group_size
from mulan.data.schedule import Schedule


@pytest.mark.parametrize(
    ("pairs", "views", "samples", "size"),
    [(64, 1, 160_000, 3), (32, 1, 160_000, 6), (32, 2, 160_000, 3), (32, 1, 48_000, 21), (2**12, 1, 160_000, 1)],
)
def test_a_task_makes_as_much_as_its_bound_allows(pairs: int, views: int, samples: int, size: int) -> None:
    assert group_size((pairs, views, samples)) == size
    assert size == 1 or size * pairs * views * samples * 2 <= GROUP_BYTES


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (2, 3), (4, 2), (2, 1000)])
def test_groups_are_in_the_order_in_which_the_workers_need_them(workers: int, size: int) -> None:
    train = TrainConfig(steps=5, validate_every_steps=2, validation_micro_batches=4)
    schedules = [Schedule(train, BatchConfig(micro_batches=4), rank, workers, first_step=1) for rank in range(workers)]
    groups = Groups(schedules[-1], size)
    for rank, schedule in enumerate(schedules):
        numbers = [groups.number(rank, place) for place in range(groups.of_each_worker)]
        expected = [schedule[number] for number in range(len(schedule))]
        assert [item for number in numbers for item in groups.items(number)] == expected
    all_numbers = [groups.number(rank, place) for place in range(groups.of_each_worker) for rank in range(workers)]
    assert all_numbers == list(range(len(groups)))
