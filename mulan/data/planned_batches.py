"""The batches of a training worker in order, from the batch server or, if none arrive, read by the worker itself."""

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
from mulan.data.batch_server import GroupResult, start_batch_server
from mulan.data.groups import Groups, batches, group_size, make_group
from mulan.data.pipeline import READERS_ENVIRONMENT, SEGMENT_GROUPS, columns, lower_priority
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Schedule

GROUPS_AHEAD = 2
"""Number of groups that are prefetched to this machine while one is consumed."""

SERVER_TIMEOUT_S = 30.0
"""Time in seconds after which a worker without batches reads for itself: longer than a reader takes to start, shorter
than a node."""

_REPORT_AFTER_S = 10.0
_POLL_S = 0.1
_POLL_FETCH_S = 2.0
_RESTART_TIMEOUT_S = 120.0
"""Time in seconds in which a batch server must have restarted."""


class NoData(RuntimeError):
    """Raised when a worker has waited for batches for so long that the others would consider it lost."""


@dataclass(frozen=True)
class BatchService:
    """The source of batches for all workers of a run: the batch server, and the reader for local reading."""

    server: Any
    """Handle of the run's :class:`mulan.data.batch_server.BatchServer`."""
    reader: "ray.ObjectRef[MicroBatchReader]"
    """Reader with the index, stored once per node in the object store."""
    size: int
    """Number of micro-batches of a group, see :func:`mulan.data.groups.group_size`."""
    server_timeout_s: float = SERVER_TIMEOUT_S
    """Time in seconds that a worker waits for the server before it reads for itself."""
    max_wait_s: float = math.inf
    """Maximum time in seconds that a worker waits for a batch other than its first."""

    def begin(self, schedule: Schedule) -> str:
        """Starts reading for all workers of an attempt.

        Args:
            schedule: Schedule of any of the workers.

        Returns:
            Name of the attempt, which :func:`planned_batches` requires.
        """
        attempt, groups = uuid.uuid4().hex, Groups(schedule, self.size)
        begun, deadline_s = False, time.monotonic() + _RESTART_TIMEOUT_S
        while not begun:
            try:
                begun = ray.get(self.server.begin.remote(attempt, groups, [self.reader], self.server))
                if not begun:
                    ray.kill(self.server, no_restart=False)
            except RayActorError:  # the server is restarting
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_POLL_S)
        return attempt

    def end(self) -> None:
        """Stops the server and its readers."""
        with suppress(RayError):  # Ray may have ended before
            ray.kill(self.server)


def _unlimited() -> int | None:
    return None


def start_batch_service(
    reader: "ray.ObjectRef[MicroBatchReader]",
    *,
    cpus: int,
    reader_limit: Callable[[], int | None] = _unlimited,
    label_selector: Mapping[str, str] | None = None,
    max_workers: int = 1,
    max_wait_s: float = math.inf,
    segment_groups: int = SEGMENT_GROUPS,
) -> BatchService:
    """Starts the batch server of a run; the server ends with this process.

    Args:
        reader: Reader with the index, stored once per node in the object store.
        cpus: Maximum number of CPUs that read at a time, for all workers together.
        reader_limit: Returns the number of readers for which the cluster can ever have room; None if no limit is known.
            Called on the server before each execution of Ray Data.
        label_selector: Labels of the nodes that may read; None for any node.
        max_workers: Maximum number of training workers of an attempt.
        max_wait_s: Maximum time in seconds that a worker waits for a batch other than its first.
        segment_groups: Number of groups of the first execution of Ray Data; see :mod:`mulan.data.pipeline`.
    """
    server = start_batch_server(
        cpus=cpus,
        reader_limit=reader_limit,
        label_selector=label_selector or {},
        max_workers=max_workers,
        segment_groups=segment_groups,
    )
    return BatchService(
        server,
        reader,
        group_size(ray.get(reader).waveform_shape),
        server_timeout_s=min(SERVER_TIMEOUT_S, max_wait_s / 2),
        max_wait_s=max_wait_s,
    )


def planned_batches(service: BatchService, attempt: str, schedule: Schedule) -> Iterator[Batch]:
    """Yields a worker's micro-batches in order, beginning once the first batches of all workers are ready.

    Workers therefore never wait for each other's first batches in a collective.

    Raises:
        ReadingFailed: A batch could not be read; raised in its place.
        NoData: No batch arrived within ``max_wait_s``.
    """
    with ThreadPoolExecutor(max_workers=GROUPS_AHEAD, thread_name_prefix="batches") as threads:
        blocks = _Blocks(service, attempt, Groups(schedule, service.size), schedule.rank, threads)
        try:
            yield from batches(blocks)
        finally:
            blocks.close()


class _Blocks:
    """An iterator over the blocks of one worker."""

    def __init__(
        self, service: BatchService, attempt: str, groups: Groups, rank: int, threads: ThreadPoolExecutor
    ) -> None:
        self._service, self._attempt, self._groups, self._rank = service, attempt, groups, rank
        self._threads = threads
        self._closed = False
        self._prefetched: deque[Future[Any]] = deque()
        self._submitted = 0
        self._index = 0
        self._local_reader: Any = None
        self._local_blocks: dict[int, ray.ObjectRef[Any]] = {}
        self._behind = False
        self._reported = False

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> "_Blocks":
        return self

    def __next__(self) -> Mapping[str, Any]:
        last = self._groups.groups_per_worker
        if self._index == last:
            raise StopIteration
        while self._submitted < min(self._index + 1 + GROUPS_AHEAD, last):
            self._prefetched.append(self._threads.submit(self._fetch, self._submitted))
            self._submitted += 1
        block = self._next(self._index, self._prefetched.popleft())
        if self._index == 0:
            workers = self._groups.schedule.workers
            while not ray.get(self._service.server.report_first_batches.remote(self._attempt, self._rank, workers)):
                pass
        self._index += 1
        return block

    def _fetch(self, index: int) -> Mapping[str, Any] | None:
        """Fetches a block from the server; returns None if this worker must read it itself, or has done so."""
        number, result = self._groups.number(self._rank, index), GroupResult([])
        while not self._closed and self._index <= index:
            if not result.block:
                result = ray.get(self._service.server.take.remote(self._attempt, number))
            if result.unwanted:
                return None
            if result.block:
                try:
                    # if the block was lost with its node, wait until another node has read it again
                    block = columns(ray.get(result.block[0], timeout=_POLL_FETCH_S))
                    return None if "unwanted" in block else block
                except GetTimeoutError:
                    pass
                except ObjectLostError:
                    return None
        return None

    def _next(self, index: int, fetched: "Future[Any]") -> Mapping[str, Any]:
        """Returns a block from the server or from this worker's local reader, whichever has it first."""
        start_s = time.monotonic()
        while True:
            if fetched.done() and (block := fetched.result()) is not None:
                break
            if (block := self._local_block(index)) is not None:
                break
            waited_s = time.monotonic() - start_s
            if waited_s >= self._service.server_timeout_s:
                self._behind = True
            if self._behind or fetched.done():
                self._read_locally(index)
            if waited_s >= _REPORT_AFTER_S and not self._reported:
                self._reported = True
                self._service.server.report_waiting.remote(self._attempt, self._rank)
            if waited_s >= self._service.max_wait_s and index > 0:
                raise NoData(f"no batches for {waited_s:.0f} s; {ray.get(self._service.server.readers.remote())}")
            self._pause(fetched)
        self._local_blocks.pop(index, None)
        self._after_block(index)
        return block

    def _pause(self, fetched: "Future[Any]") -> None:
        if fetched.done() or self._local_blocks:
            time.sleep(_POLL_S)
        else:
            wait([fetched], timeout=_POLL_S)

    def _after_block(self, index: int) -> None:
        """Continues reading locally until the server is ahead again."""
        if self._behind and self._prefetched:
            self._behind = not self._prefetched[0].done()
            if self._behind:
                self._read_locally(index + 1)
        if self._reported and not self._behind:
            self._reported = False
            self._service.server.report_resumed.remote(self._attempt, self._rank)

    def _local_block(self, index: int) -> Mapping[str, Any] | None:
        """Returns a block from the local reader, if it is ready."""
        if index not in self._local_blocks or not ray.wait([self._local_blocks[index]], timeout=0)[0]:
            return None
        return cast(Mapping[str, Any], ray.get(self._local_blocks[index]))

    def _read_locally(self, index: int) -> None:
        """Starts reading a block with the local reader, unless it was started before."""
        if index in self._local_blocks:
            return
        self._reported = True
        number = self._groups.number(self._rank, index)
        self._service.server.skip_group.remote(self._attempt, number, self._rank)
        self._local_reader = self._local_reader or _start_local_reader(self._service.reader)
        self._local_blocks[index] = self._local_reader.make.remote(self._groups.items(number))


class _LocalReader:
    """An actor that reads for one worker, on its node."""

    def __init__(self, reader: "list[ray.ObjectRef[MicroBatchReader]]") -> None:
        self._reader: MicroBatchReader = ray.get(reader[0])

    def make(self, items: list[Item]) -> dict[str, Any]:
        lower_priority()
        return make_group(self._reader, items)


def _start_local_reader(reader: "ray.ObjectRef[MicroBatchReader]") -> Any:
    """Starts a local reader on this node. It reserves no CPU, as none may be free; it uses the worker's idle time."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = ray.remote(_LocalReader).options(
        num_cpus=0, scheduling_strategy=here, runtime_env={"env_vars": READERS_ENVIRONMENT}
    )
    return options.remote([reader])
