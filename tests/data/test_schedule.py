import pytest

from mulan.config.sections import BatchConfig, TrainConfig
from mulan.data.schedule import Item, Phase, Schedule, ScheduleError


def written_out(train: TrainConfig, batch: BatchConfig, rank: int, workers: int, first_step: int) -> list[Item]:
    """Yields the items of a worker by nested loops."""
    items = []
    share, validation_micro_batches_per_worker = (
        batch.micro_batches // workers,
        train.validation_micro_batches // workers,
    )
    for step in range(first_step, train.steps):
        items += [Item(Phase.TRAIN, step, rank * share + k) for k in range(share)]
        done, every = step + 1, train.validate_every_steps
        if (every and done % every == 0) or done == train.steps:
            items += [
                Item(Phase.VALIDATE, done, rank * validation_micro_batches_per_worker + k)
                for k in range(validation_micro_batches_per_worker)
            ]
    return items


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("every", [0, 1, 3, 4, 10, 100])
@pytest.mark.parametrize("validation_micro_batches", [0, 4])
@pytest.mark.parametrize("first_step", [0, 3, 8, 9, 10])
def test_the_sequence_equals_that_of_loops(
    workers: int, every: int, validation_micro_batches: int, first_step: int
) -> None:
    train = TrainConfig(steps=10, validate_every_steps=every, validation_micro_batches=validation_micro_batches)
    batch = BatchConfig(micro_batches=4)
    for rank in range(workers):
        schedule = Schedule(train, batch, rank, workers, first_step)
        expected = written_out(train, batch, rank, workers, first_step)
        if first_step == train.steps:
            continue  # nothing is left to do
        assert [schedule[i] for i in range(len(schedule))] == expected


def test_workers_share_every_micro_batch_exactly_once() -> None:
    train, batch = (
        TrainConfig(steps=5, validate_every_steps=2, validation_micro_batches=8),
        BatchConfig(micro_batches=8),
    )
    whole = Schedule(train, batch, 0, 1)
    alone = [whole[i] for i in range(len(whole))]
    for workers in (2, 4, 8):
        shared = [s[i] for s in (Schedule(train, batch, r, workers) for r in range(workers)) for i in range(len(s))]
        assert sorted(shared) == sorted(alone)


def test_a_run_of_a_million_steps_is_not_stored() -> None:
    schedule = Schedule(
        TrainConfig(steps=10**6, validate_every_steps=1000, validation_micro_batches=2), BatchConfig(), 0, 1
    )
    assert len(schedule) == 2 * 10**6 + 2 * 1000
    assert schedule[len(schedule) - 1] == Item(Phase.VALIDATE, 10**6, 1)


def test_the_loop_and_the_schedule_agree_on_when_to_validate() -> None:
    schedule = Schedule(TrainConfig(steps=7, validate_every_steps=3, validation_micro_batches=1), BatchConfig(), 0, 1)
    assert [done for done in range(1, 8) if schedule.validates_after(done)] == [3, 6, 7]


@pytest.mark.parametrize("every", [0, 3, 5])
def test_an_extended_run_has_the_micro_batches_of_a_longer_run(every: int) -> None:
    """Only the validation after the former last step differs."""
    short = TrainConfig(steps=10, validate_every_steps=every, validation_micro_batches=2)
    long, batch = short.replace(steps=20), BatchConfig(micro_batches=4)
    for rank in range(2):
        whole, first = Schedule(long, batch, rank, 2), Schedule(short, batch, rank, 2)
        rest = Schedule(long, batch, rank, 2, first_step=10)
        extended = [part[number] for part in (first, rest) for number in range(len(part))]
        added = [] if every == 5 else [Item(Phase.VALIDATE, 10, rank)]
        assert sorted([*(whole[number] for number in range(len(whole))), *added]) == sorted(extended)


def test_uneven_shares_are_rejected_with_their_fields() -> None:
    with pytest.raises(ScheduleError, match=r"3 workers cannot share batch.micro_batches = 4 and train.valid.* = 2"):
        Schedule(TrainConfig(validation_micro_batches=2), BatchConfig(micro_batches=4), 0, 3)


def test_an_index_beyond_the_end_raises() -> None:
    schedule = Schedule(TrainConfig(steps=2), BatchConfig(), 0, 1)
    with pytest.raises(IndexError):
        schedule[len(schedule)]
