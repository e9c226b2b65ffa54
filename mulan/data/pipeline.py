"""The Ray Data pipeline: the schedule in groups of micro-batches, one task and one block each, made by CPU actors."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import DataContext, ExecutionOptions, ExecutionResources

from mulan.config.errors import MulanError
from mulan.data.batch import Batch
from mulan.data.errors import ReadingFailed
from mulan.data.examples import MicroBatchReader
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.pacing import PauseBetweenSteps, give_way
from mulan.data.schedule import Schedule

SEGMENT_GROUPS = 1024
"""Groups of the first execution of Ray Data, which makes all of its tasks before the first one runs: the start of a run
must not take longer the longer the run. Each execution starts its own processes, so that later ones are longer."""

LONGEST_SEGMENT_GROUPS = 2**14

GROUP_BYTES = 2**26
"""Most waveform that one task makes, unless a single micro-batch is more.

A task and its block cost Ray the same however small they are: too much for every micro-batch. The first batch waits for
its whole group, and every CPU at work holds one."""

_TASKS_AHEAD = 4
"""Tasks that each reading process is given at a time, so that it need not wait for the scheduler between two."""


def quiet_data_context() -> DataContext:
    """Ray Data without progress bars, and with the settings that our blocks need, for this process."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.target_max_block_size = None  # a block is a group, however large
    context.execution_no_progress_timeout_s = -1  # a long validation or checkpoint must not end the run
    if PauseBetweenSteps not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(PauseBetweenSteps)
    return context


def planned_batches(schedule: Schedule, reader: "ray.ObjectRef[MicroBatchReader]", *, cpus: int) -> Iterator[Batch]:
    """One worker's micro-batches in order, however long the run.

    The schedule is executed in segments; the next one is begun while the last quarter of the present one is consumed.

    Args:
        reader: lies once per node in the object store, with the index in it.
        cpus: this worker's share of the CPUs that read and decode; a process each.
    """
    size = group_size(ray.get(reader).waveform_shape)
    segments = _segments(len(schedule), size)
    with ThreadPoolExecutor(max_workers=1) as ahead:

        def begin(number: int) -> Future[Iterator[Batch]]:
            return ahead.submit(_execute, schedule, segments[number], reader, size=size, cpus=cpus)

        upcoming = begin(0) if segments else None
        for number, segment in enumerate(segments):
            assert upcoming is not None
            present, upcoming = upcoming.result(), None
            for position, batch in enumerate(present):
                if upcoming is None and number + 1 < len(segments) and position >= len(segment) * 3 // 4:
                    upcoming = begin(number + 1)
                yield batch


def _segments(micro_batches: int, size: int) -> list[range]:
    """Micro-batches of each execution, in groups of ``size``; twice as many as of the one before, up to a bound."""
    found: list[range] = []
    groups = SEGMENT_GROUPS
    while (first := found[-1].stop if found else 0) < micro_batches:
        found.append(range(first, min(first + groups * size, micro_batches)))
        groups = min(2 * groups, LONGEST_SEGMENT_GROUPS)
    return found


def _execute(
    schedule: Schedule,
    numbers: range,
    reader: "ray.ObjectRef[MicroBatchReader]",
    *,
    size: int,
    cpus: int,
) -> Iterator[Batch]:
    """The batches of a part of a schedule, the first of them made: blocks of ``size`` rows, each a micro-batch."""
    quiet_data_context()
    groups = -(-len(numbers) // size)
    dataset = ray.data.range(groups, override_num_blocks=groups).map_batches(
        _GroupReader,
        fn_constructor_args=(schedule, numbers, reader, size),
        compute=ray.data.ActorPoolStrategy(size=min(cpus, groups), max_tasks_in_flight_per_actor=_TASKS_AHEAD),
        num_cpus=1,
        batch_size=None,
        zero_copy_batch=True,
    )
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources(cpu=cpus)
    )
    # not by way of streaming_split: its coordinator is one more process, which takes the CPU that training needs
    blocks = iter(dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=2))
    return batches(chain([next(blocks)], blocks))


class _GroupReader:
    """Makes groups of micro-batches, in an actor of one CPU."""

    def __init__(
        self, schedule: Schedule, numbers: range, reader: "ray.ObjectRef[MicroBatchReader]", size: int
    ) -> None:
        keep_freed_memory()
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would take other processes' CPUs
        self._schedule, self._numbers, self._size = schedule, numbers, size
        self._reader: MicroBatchReader = ray.get(reader)

    def __call__(self, block: Mapping[str, Any]) -> dict[str, Any]:
        give_way()
        try:
            return self._group(block)
        except MulanError as error:  # as a value: of what is raised here, Ray Data tells its own text alone
            return {"error": [str(error)]}

    def _group(self, block: Mapping[str, Any]) -> dict[str, Any]:
        first = int(block["id"][0]) * self._size
        items = [self._schedule[number] for number in self._numbers[first : first + self._size]]
        # each fills its part of what Ray takes: joining afterwards would copy it all
        waveform = np.empty((len(items), *self._reader.waveform_shape), np.int16)
        rows = [self._reader(item, waveform=part).to_columns() for item, part in zip(items, waveform, strict=True)]
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0] if name != "waveform"}
        return {"waveform": waveform, **joined}


def group_size(waveform_shape: tuple[int, int, int]) -> int:
    """Micro-batches that a task makes: as many as :data:`GROUP_BYTES` holds, and at least one.

    ``waveform_shape``: [m, views, samples] of each.
    """
    waveform_bytes = math.prod(waveform_shape) * np.dtype(np.int16).itemsize
    return max(1, GROUP_BYTES // waveform_bytes)


def batches(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    """The batches in a dataset's blocks.

    Raises:
        ReadingFailed: in the place of the first that could not be made.
    """
    for block in blocks:
        if "error" in block:
            raise ReadingFailed(str(block["error"][0]))
        for row in range(len(block["about"])):
            yield Batch.from_columns({name: column[row : row + 1] for name, column in block.items()})
