"""Tests that batches follow the schedule's order, and that all workers receive equal reports."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.config.sections import BatchConfig as BatchSection
from mulan.config.sections import TrainConfig
from mulan.data.batch import Batch
from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Item, Phase, Schedule
from mulan.distributed.collectives import rank_and_world_size
from mulan.storage.errors import StorageError
from mulan.training.batch_source import BatchSource, StepReport
from tests.processes import run_in_processes

SECTION = BatchSection(micro_batches=4, pairs_per_micro_batch=2)
TRAIN = TrainConfig(steps=2)
NAMES = [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]
"""Recording ids in the micro-batches of each step."""


def batch_of(item: Item, names: Sequence[str]) -> Batch:
    empty = np.zeros((2, 0), np.int64)
    return Batch(
        item=item,
        waveform=np.zeros((2, 1, 4), np.int16),
        token_ids=empty,
        attention_mask=empty,
        tags=empty.astype(np.uint8),
        recording_id=tuple(names),
        skipped=(SkippedRecording(f"bad-{item.step}-{item.micro_batch}", "silent", "why"),)
        if item.micro_batch % 2
        else (),
    )


def reports_of_steps(names: list[list[str]]) -> list[StepReport]:
    """Returns the reports of two steps in this process group."""
    rank, workers = rank_and_world_size()
    schedule = Schedule(TRAIN, SECTION, rank, workers)
    items = [schedule[number] for number in range(len(schedule))]
    source = BatchSource(iter([batch_of(item, names[item.micro_batch]) for item in items]), schedule)
    reports = []
    for step in range(2):
        taken = [batch.item for batch in source.take(schedule.train_micro_batches_per_worker)]
        assert taken == items[step * len(taken) : (step + 1) * len(taken)]
        error = StorageError("worker 1 has no disk") if step and rank == 1 else None
        reports.append(source.exchange_step_report({"loss": float(rank)}, error, stops=step == rank == 1))
    return reports


@pytest.mark.processes
def test_two_workers_have_the_same_reports_as_one(tmp_path: Path) -> None:
    (alone,) = run_in_processes(reports_of_steps, 1, NAMES, folder=tmp_path / "one")
    first, second = run_in_processes(reports_of_steps, 2, NAMES, folder=tmp_path / "two")
    for one, two in zip(first, second, strict=True):
        # errors are compared by their messages
        assert replace(one, fatal_error=None) == replace(two, fatal_error=None)
        assert repr(one.fatal_error) == repr(two.fatal_error)
        assert one.measured == {"loss": 0.0}
    for step, (one, two) in enumerate(zip(alone, first, strict=True)):
        assert two.recordings_checksum == one.recordings_checksum
        assert two.skipped == one.skipped == [SkippedRecording(f"bad-{step}-{k}", "silent", "why") for k in (1, 3)]
    assert [repr(report.fatal_error) for report in first] == ["None", "StorageError('worker 1 has no disk')"]
    assert [report.fatal_error for report in alone] == [None, None]
    assert [report.stops for report in first] == [False, True]  # the first worker does not know of the request
    assert alone[0].recordings_checksum == alone[1].recordings_checksum  # independent of the previous step


def test_the_checksum_depends_on_the_recordings_and_their_positions() -> None:
    def checksum(names: list[list[str]]) -> str:
        return reports_of_steps(names)[0].recordings_checksum

    checksums = [
        checksum(names)
        for names in (
            NAMES,
            [["a", "b"], ["c", "x"], *NAMES[2:]],  # another recording
            [["b", "a"], *NAMES[1:]],  # two recordings swapped in a micro-batch
            [["c", "b"], ["a", "d"], *NAMES[2:]],  # or between micro-batches
            [NAMES[1], NAMES[0], *NAMES[2:]],  # whole micro-batches swapped
            [["a", "a"], ["a", "a"], *NAMES[2:]],
            [["ab", ""], *NAMES[1:]],
        )
    ]
    assert len(set(checksums)) == len(checksums)
    assert all(len(one) == 16 for one in checksums)
    assert checksum([list(names) for names in NAMES]) == checksums[0]


@pytest.mark.parametrize("wrong", [Item(Phase.TRAIN, 0, 1), Item(Phase.TRAIN, 1, 0), Item(Phase.VALIDATE, 0, 0)])
def test_batches_out_of_order_are_rejected(wrong: Item) -> None:
    schedule = Schedule(TRAIN, SECTION, rank=0, workers=1)
    source = BatchSource(iter([batch_of(wrong, NAMES[0])]), schedule)
    with pytest.raises(AssertionError, match="the schedule expects"):
        next(source.take(1))


def test_the_model_flops_of_a_step_are_those_of_its_training_micro_batches() -> None:
    schedule = Schedule(TRAIN, SECTION, rank=0, workers=1)
    items = [schedule[number] for number in range(len(schedule))]
    batches = [batch_of(item, NAMES[item.micro_batch % 4]) for item in items]
    source = BatchSource(iter(batches), schedule, flops=lambda batch: 10 ** (1 + batch.item.micro_batch))
    sums = []
    for _ in range(2):
        assert list(source.take(schedule.train_micro_batches_per_worker))
        sums.append(source.exchange_step_report().model_flops)
    assert sums == [11_110, 11_110]
    assert reports_of_steps(NAMES)[0].model_flops is None  # if they are not counted


def test_a_batch_is_asked_for_only_when_it_is_taken() -> None:
    schedule = Schedule(TRAIN, SECTION, rank=0, workers=1)
    made: list[Item] = []

    def make(number: int) -> Batch:
        made.append(schedule[number])
        return batch_of(schedule[number], NAMES[number % 4])

    source = BatchSource(map(make, range(len(schedule))), schedule)
    for count, batch in enumerate(source.take(3), start=1):
        assert len(made) == count and batch.item == made[-1]
    assert [batch.item for batch in source.take(2)] == [schedule[3], schedule[4]]
