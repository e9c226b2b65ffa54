"""Groups of micro-batches: each group is read by one task and stored in one block."""

import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from typing import Any, TypeVar

import numpy as np

from mulan.config.errors import MulanError
from mulan.data.batch import Batch
from mulan.data.errors import ReadingFailed
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Schedule

T = TypeVar("T")

GROUP_BYTES = 2**26
"""Maximum size in bytes of the waveforms of a group, unless a single micro-batch exceeds it.

Tasks and blocks have a fixed cost in Ray that is too high for single micro-batches. Larger groups would delay the first
batch, and every active CPU holds one group."""


def group_size(waveform_shape: tuple[int, int, int]) -> int:
    """Returns the number of micro-batches of a group: as many as fit into :data:`GROUP_BYTES`, and at least one.

    Args:
        waveform_shape: [m, views, samples] of a micro-batch.
    """
    waveform_bytes = math.prod(waveform_shape) * np.dtype(np.int16).itemsize
    return max(1, GROUP_BYTES // waveform_bytes)


@dataclass(frozen=True)
class Groups:
    """The groups of all workers, interleaved: the first group of each worker, then the second of each, and so on.

    Workers train in lockstep, so that any number of readers that follow this order serves all workers equally.
    """

    schedule: Schedule
    """Schedule of any of the workers; all schedules have the same length."""
    size: int
    """Number of micro-batches of a group; the last group of each worker may have fewer."""

    @property
    def groups_per_worker(self) -> int:
        """Number of groups of each worker."""
        return -(-len(self.schedule) // self.size)

    def __len__(self) -> int:
        return self.groups_per_worker * self.schedule.workers

    def number(self, rank: int, index: int) -> int:
        """Returns the position, among the groups of all workers, of group ``index`` of worker ``rank``."""
        return index * self.schedule.workers + rank

    def items(self, number: int) -> list[Item]:
        """Returns the micro-batches of a group."""
        index, rank = divmod(number, self.schedule.workers)
        schedule = replace(self.schedule, rank=rank)
        first = index * self.size
        return [schedule[item] for item in range(first, min(first + self.size, len(schedule)))]


def make_group(reader: MicroBatchReader, items: list[Item]) -> dict[str, Any]:
    """Reads micro-batches into the columns of a block, one row each.

    From object stores, the next recordings are fetched while some are decoded; for files of this machine, that would
    cost more time of the processor than it saves.

    An error for the user is returned in columns ``error`` and ``exit_code``, because Ray Data would replace the message
    of an exception in a task by its own.
    """
    # each row is read directly into Ray's array: concatenation would copy everything
    waveform = np.empty((len(items), *reader.waveform_shape), np.int16)
    try:
        fetched = chain.from_iterable(map(reader.fetch, items))
        by_item = groupby(fetched if reader.is_local else _one_ahead(fetched), key=lambda part: part.item)
        rows = [
            reader.decode(item, parts, samples).to_columns()
            for (item, parts), samples in zip(by_item, waveform, strict=True)
        ]
    except MulanError as error:
        return {"error": [str(error)], "exit_code": [error.exit_code]}
    joined = {name: _concatenated([row[name] for row in rows]) for name in rows[0] if name != "waveform"}
    return {"waveform": waveform, **joined}


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields items, the next of which a thread prepares while one is used."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetch") as thread:
        following = thread.submit(list, islice(items, 1))
        while item := following.result():
            following = thread.submit(list, islice(items, 1))
            yield item[0]


def _concatenated(rows: list[Any]) -> np.ndarray:
    """Concatenates one column of several rows, whose shapes differ if their texts differ in length."""
    if len({np.shape(row) for row in rows}) == 1:
        return np.concatenate(rows)
    ragged = np.empty(len(rows), object)
    for index, row in enumerate(rows):
        ragged[index] = row[0]
    return ragged


def batches(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    """Yields the batches in blocks, which are given as columns.

    Raises:
        ReadingFailed: A batch could not be read; raised in its place.
    """
    for block in blocks:
        if "error" in block:
            raise ReadingFailed(str(block["error"][0]), exit_code=int(block["exit_code"][0]))
        for row in range(len(block["about"])):
            yield Batch.from_columns({name: column[row : row + 1] for name, column in block.items()})
