"""A training worker's batches in order: from the batch server, or read by the worker itself where nothing comes."""

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.data.batch import Batch
from mulan.data.batch_server import Answer, start_batch_server
from mulan.data.groups import Groups, batches, group_size, make_group
from mulan.data.pipeline import READERS_ENVIRONMENT, SEGMENT_GROUPS, columns, lower_priority
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Schedule

GROUPS_AHEAD = 2
"""Groups that are fetched to this machine while one is consumed."""

PATIENCE_S = 30.0
"""After which a worker without batches reads for itself: longer than a reader takes to start, shorter than a node."""

_TOLD_AFTER_S = 10.0
_POLL_S = 0.1
_POLL_FETCH_S = 2.0
_RESTART_LIMIT_S = 120.0
"""In which a batch server that had to end is there again."""


class NoData(RuntimeError):
    """A worker has waited so long for batches that the others would take it for lost."""


@dataclass(frozen=True)
class Source:
    """Where the workers of an attempt take their batches from."""

    server: Any
    """Handle of the run's :class:`mulan.data.batch_server.BatchServer`."""
    reader: "ray.ObjectRef[MicroBatchReader]"
    size: int
    """Micro-batches of a group, see :func:`mulan.data.groups.group_size`."""
    patience_s: float = PATIENCE_S
    """A worker waits so long for the server before it reads for itself."""
    limit_s: float = math.inf
    """It never waits longer than this, except for its first batches."""

    def begin(self, schedule: Schedule) -> str:
        """Begins to read for all workers of an attempt, and returns the name of the attempt, which they need.

        ``schedule``: any worker's.
        """
        attempt, groups = uuid.uuid4().hex, Groups(schedule, self.size)
        begun, deadline_s = False, time.monotonic() + _RESTART_LIMIT_S
        while not begun:
            try:
                begun = ray.get(self.server.begin.remote(attempt, groups, [self.reader], self.server))
                if not begun:
                    ray.kill(self.server, no_restart=False)
            except RayActorError:  # it is starting again
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_POLL_S)
        return attempt

    def end(self) -> None:
        """Ends the server and its readers."""
        with suppress(RayError):  # Ray may have gone before
            ray.kill(self.server)


def _unlimited() -> int | None:
    return None


def start_source(
    reader: "ray.ObjectRef[MicroBatchReader]",
    *,
    cpus: int,
    room_ever: Callable[[], int | None] = _unlimited,
    label_selector: Mapping[str, str] | None = None,
    max_workers: int = 1,
    limit_s: float = math.inf,
    segment_groups: int = SEGMENT_GROUPS,
) -> Source:
    """Starts the batch server of a run; it ends with this process.

    Args:
        reader: lies once per node in the object store, with the index in it.
        cpus: most CPUs that read at a time, for all workers together.
        room_ever: how many there can ever be; None where no limit is known. Called on the server, before each
            execution of Ray Data.
        label_selector: labels of the nodes that may read; any if not given.
        max_workers: training workers that an attempt may have.
        limit_s: a worker never waits longer than this, except for its first batches.
        segment_groups: groups of the first execution of Ray Data; see :mod:`mulan.data.pipeline`.
    """
    server = start_batch_server(
        cpus=cpus,
        room_ever=room_ever,
        label_selector=label_selector or {},
        max_workers=max_workers,
        segment_groups=segment_groups,
    )
    return Source(
        server,
        reader,
        group_size(ray.get(reader).waveform_shape),
        patience_s=min(PATIENCE_S, limit_s / 2),
        limit_s=limit_s,
    )


def planned_batches(source: Source, attempt: str, schedule: Schedule) -> Iterator[Batch]:
    """Yields a worker's micro-batches in order, the first when all workers have their first ones.

    Waiting for the first is so outside of every collective.

    Raises:
        ReadingFailed: in the place of the first batch that could not be made.
        NoData: the source's limit has passed.
    """
    with ThreadPoolExecutor(max_workers=GROUPS_AHEAD, thread_name_prefix="batches") as threads:
        blocks = _Blocks(source, attempt, Groups(schedule, source.size), schedule.rank, threads)
        try:
            yield from batches(blocks)
        finally:
            blocks.close()


class _Blocks:
    """The blocks of one worker, in order; an iterator."""

    def __init__(self, source: Source, attempt: str, groups: Groups, rank: int, threads: ThreadPoolExecutor) -> None:
        self._source, self._attempt, self._groups, self._rank = source, attempt, groups, rank
        self._threads = threads
        self._closed = False
        self._coming: deque[Future[Any]] = deque()
        self._asked = 0
        self._place = 0
        self._own_reader: Any = None
        self._making: dict[int, ray.ObjectRef[Any]] = {}
        self._behind = False
        self._reported = False

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> "_Blocks":
        return self

    def __next__(self) -> Mapping[str, Any]:
        last = self._groups.of_each_worker
        if self._place == last:
            raise StopIteration
        while self._asked < min(self._place + 1 + GROUPS_AHEAD, last):
            self._coming.append(self._threads.submit(self._fetch, self._asked))
            self._asked += 1
        block = self._next(self._place, self._coming.popleft())
        if self._place == 0:
            workers = self._groups.schedule.workers
            while not ray.get(self._source.server.arrives.remote(self._attempt, self._rank, workers)):
                pass
        self._place += 1
        return block

    def _fetch(self, place: int) -> Mapping[str, Any] | None:
        """The block of a place from the server, or None if this worker has to make it, or has made it."""
        number, answer = self._groups.number(self._rank, place), Answer([])
        while not self._closed and self._place <= place:
            if not answer.block:
                answer = ray.get(self._source.server.take.remote(self._attempt, number))
            if answer.unwanted:
                return None
            if answer.block:
                try:
                    # a block that was lost with its node is waited for here until another node makes it again
                    block = columns(ray.get(answer.block[0], timeout=_POLL_FETCH_S))
                    return None if "unwanted" in block else block
                except GetTimeoutError:
                    pass
                except ObjectLostError:
                    return None
        return None

    def _next(self, place: int, coming: "Future[Any]") -> Mapping[str, Any]:
        """The block of a place, from whoever has it first: the server, or this worker's own reader."""
        begun = time.monotonic()
        while True:
            if coming.done() and (block := coming.result()) is not None:
                break
            if (block := self._made(place)) is not None:
                break
            waited_s = time.monotonic() - begun
            if waited_s >= self._source.patience_s:
                self._behind = True
            if self._behind or coming.done():
                self._make(place)
            if waited_s >= _TOLD_AFTER_S and not self._reported:
                self._reported = True
                self._source.server.waits.remote(self._attempt, self._rank)
            if waited_s >= self._source.limit_s and place > 0:
                raise NoData(f"no batches for {waited_s:.0f} s; {ray.get(self._source.server.readers.remote())}")
            self._pause(coming)
        self._making.pop(place, None)
        self._go_on(place)
        return block

    def _pause(self, coming: "Future[Any]") -> None:
        if coming.done() or self._making:
            time.sleep(_POLL_S)
        else:
            wait([coming], timeout=_POLL_S)

    def _go_on(self, place: int) -> None:
        """Once a block is there: the own reader goes on until the server is ahead again."""
        if self._behind and self._coming:
            self._behind = not self._coming[0].done()
            if self._behind:
                self._make(place + 1)
        if self._reported and not self._behind:
            self._reported = False
            self._source.server.goes_on.remote(self._attempt, self._rank)

    def _made(self, place: int) -> Mapping[str, Any] | None:
        """What the own reader has made of a place."""
        if place not in self._making or not ray.wait([self._making[place]], timeout=0)[0]:
            return None
        return cast(Mapping[str, Any], ray.get(self._making[place]))

    def _make(self, place: int) -> None:
        """Has the own reader make a place, unless it does already."""
        if place in self._making:
            return
        self._reported = True
        number = self._groups.number(self._rank, place)
        self._source.server.leave_out.remote(self._attempt, number, self._rank)
        self._own_reader = self._own_reader or _start_own_reader(self._source.reader)
        self._making[place] = self._own_reader.make.remote(self._groups.items(number))


class _OwnReader:
    """Reads for one worker, on its node; an actor."""

    def __init__(self, reader: "list[ray.ObjectRef[MicroBatchReader]]") -> None:
        self._reader: MicroBatchReader = ray.get(reader[0])

    def make(self, items: list[Item]) -> dict[str, Any]:
        lower_priority()
        return make_group(self._reader, items)


def _start_own_reader(reader: "ray.ObjectRef[MicroBatchReader]") -> Any:
    """Starts it where this process is. It asks for no CPU, since it is wanted where there is none: it takes what the
    worker's own leave over."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = ray.remote(_OwnReader).options(
        num_cpus=0, scheduling_strategy=here, runtime_env={"env_vars": READERS_ENVIRONMENT}
    )
    return options.remote([reader])
