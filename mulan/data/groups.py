"""Groups of micro-batches: what one data task makes and one block holds."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mulan.config.errors import MulanError
from mulan.data.batch import Batch
from mulan.data.errors import ReadingFailed
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Schedule

GROUP_BYTES = 2**26
"""Most waveform that one group holds, unless a single micro-batch is more.

A task and its block cost Ray the same however small they are: too much for every micro-batch. The first batch waits for
its whole group, and every CPU at work holds one."""


def group_size(waveform_shape: tuple[int, int, int]) -> int:
    """Returns how many micro-batches a group has: as many as :data:`GROUP_BYTES` holds, and at least one.

    ``waveform_shape``: [m, views, samples] of each.
    """
    waveform_bytes = math.prod(waveform_shape) * np.dtype(np.int16).itemsize
    return max(1, GROUP_BYTES // waveform_bytes)


@dataclass(frozen=True)
class Groups:
    """The groups of all workers, in the order in which they are needed: the first of each, then the second, and so on.

    Workers train in step. Readers that work in this order serve all of them alike, however few the readers are.
    """

    schedule: Schedule
    """The first worker's; the others' are as long."""
    size: int
    """Micro-batches of a group; the last one of each worker may have fewer."""

    @property
    def of_each_worker(self) -> int:
        return -(-len(self.schedule) // self.size)

    def __len__(self) -> int:
        return self.of_each_worker * self.schedule.workers

    def number(self, rank: int, place: int) -> int:
        """Returns the number among all groups of a worker's group ``place``."""
        return place * self.schedule.workers + rank

    def items(self, number: int) -> list[Item]:
        """Returns the micro-batches of a group."""
        place, rank = divmod(number, self.schedule.workers)
        schedule = replace(self.schedule, rank=rank)
        first = place * self.size
        return [schedule[item] for item in range(first, min(first + self.size, len(schedule)))]


def make_group(reader: MicroBatchReader, items: list[Item]) -> dict[str, Any]:
    """Makes micro-batches as the columns of a block, a row each.

    What a reader of data tells users is returned as values, in columns ``error`` and ``exit_code``: of what is raised
    in a task, Ray Data tells its own text alone.
    """
    # each fills its part of what Ray takes: joining afterwards would copy it all
    waveform = np.empty((len(items), *reader.waveform_shape), np.int16)
    try:
        rows = [reader(item, waveform=part).to_columns() for item, part in zip(items, waveform, strict=True)]
    except MulanError as error:
        return {"error": [str(error)], "exit_code": [error.exit_code]}
    joined = {name: _concatenated([row[name] for row in rows]) for name in rows[0] if name != "waveform"}
    return {"waveform": waveform, **joined}


def _concatenated(rows: list[Any]) -> np.ndarray:
    """Joins one column of several rows, which differ in shape where their texts differ in length."""
    if len({np.shape(row) for row in rows}) == 1:
        return np.concatenate(rows)
    ragged = np.empty(len(rows), object)
    for place, row in enumerate(rows):
        ragged[place] = row[0]
    return ragged


def batches(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    """Yields the batches in blocks of columns.

    Raises:
        ReadingFailed: in the place of the first that could not be made.
    """
    for block in blocks:
        if "error" in block:
            raise ReadingFailed(str(block["error"][0]), exit_code=int(block["exit_code"][0]))
        for row in range(len(block["about"])):
            yield Batch.from_columns({name: column[row : row + 1] for name, column in block.items()})
