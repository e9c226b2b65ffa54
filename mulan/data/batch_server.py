"""The batch server: an actor that executes Ray Data for all training workers and hands each worker its groups.

One pool of readers serves all workers in the order in which they need their groups, so that a lack of CPUs delays all
workers equally. The pool skips groups that a worker has read for itself.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.data.groups import Groups
from mulan.data.pipeline import READER_CPUS, execute, segments
from mulan.data.reader import MicroBatchReader

_MAX_CALL_S = 2.0
"""Maximum time in seconds that a call blocks, so that callers can check in between whether they still need it."""


class ReaderPoolState(NamedTuple):
    """The readers that are active, and the workers that are waiting for them."""

    active_cpus: int
    """Number of CPUs of the pool that are reading."""
    requested_cpus: int
    """Number of CPUs that the pool should have."""
    waiting: tuple[int, ...]
    """Ranks of the workers that have been without batches for a while."""
    reading_locally: tuple[int, ...]
    """Ranks of the workers that read for themselves."""
    pool_exhausted: bool
    """Whether the existing nodes have no further CPUs for reading."""

    def __str__(self) -> str:
        parts = [f"data: {self.active_cpus} of {self.requested_cpus} CPUs"]
        if (self.waiting or self.reading_locally) and self.active_cpus < self.requested_cpus:
            parts[0] += ", waiting for nodes" if self.pool_exhausted else ", starting"
        if self.reading_locally:
            parts.append(_describe(self.reading_locally, "reads for itself", "read for themselves"))
        if idle := sorted({*self.waiting} - {*self.reading_locally}):
            parts.append(_describe(idle, "waits", "wait"))
        return "; ".join(parts)


def _describe(ranks: Sequence[int], singular: str, plural: str) -> str:
    names = ", ".join(map(str, ranks))
    return f"worker {names} {singular}" if len(ranks) == 1 else f"workers {names} {plural}"


class GroupResult(NamedTuple):
    """The result of a request for a group."""

    block: "list[ray.ObjectRef[Any]]"
    """The block, or an empty list if it is not ready."""
    unwanted: bool = False
    """Whether the pool skips the group because the worker reads it itself."""


class UnknownAttempt(RuntimeError):
    """Raised when the server serves another attempt of the run, because it or all workers have restarted."""


@dataclass(frozen=True)
class _Reading:
    process: str
    node_id: str


class BatchServer:
    """Executes Ray Data and serves its blocks to workers; an actor, which :func:`start_batch_server` starts."""

    def __init__(
        self, cpus: int, reader_limit: Callable[[], int | None], label_selector: Mapping[str, str], segment_groups: int
    ) -> None:
        self._cpus, self._reader_limit, self._labels = cpus, reader_limit, label_selector
        self._segment_groups = segment_groups
        self._changed = threading.Condition()
        self._attempt = ""
        self._thread: threading.Thread | None = None
        self._reset()

    def _reset(self) -> None:
        self._blocks: dict[int, ray.ObjectRef[Any]] = {}
        self._unwanted: set[int] = set()
        self._requested = 0
        self._begun = 0
        self._reading: dict[int, _Reading] = {}
        self._have_batches: set[int] = set()
        self._waiting: set[int] = set()
        self._reading_locally: set[int] = set()
        self._remaining = 0
        self._fault: str | None = None

    def begin(self, attempt: str, groups: Groups, reader: "list[ray.ObjectRef[MicroBatchReader]]", handle: Any) -> bool:
        """Stops serving the previous attempt, and starts serving a new one.

        Args:
            attempt: Name of the new attempt.
            groups: Groups of all workers of the attempt.
            reader: Reader, stored once per node in the object store.
            handle: Handle of this actor.

        Returns:
            False if the previous attempt cannot be stopped because Ray Data is waiting for CPUs, and would keep
            requesting them from the autoscaler. The process of this actor must then be restarted.
        """
        with self._changed:
            self._reset()
            self._attempt = attempt
            self._remaining = len(groups)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=_MAX_CALL_S)
            if self._thread.is_alive():
                return False
        self._thread = threading.Thread(
            target=self._read, args=(attempt, groups, reader[0], GroupServerClient(handle, attempt)), daemon=True
        )
        self._thread.start()
        return True

    def _read(
        self, attempt: str, groups: Groups, reader: "ray.ObjectRef[MicroBatchReader]", server: "GroupServerClient"
    ) -> None:
        try:
            for segment in segments(len(groups), self._segment_groups):
                blocks = execute(
                    groups, segment, reader, server, readers=self._max_readers(), label_selector=self._labels
                )
                # the blocks of the last execution may stay in Ray Data until they are needed
                drain_from = segment.stop - 1 if segment.stop < len(groups) else len(groups)
                for number, block in zip(segment, blocks, strict=True):
                    if not self._keep(attempt, number, block, drain_from):
                        return
        except Exception as error:  # any error of Ray is raised to every worker that requests a group
            with self._changed:
                if attempt == self._attempt:
                    self._fault = f"{type(error).__name__}: {error}"
                    self._changed.notify_all()

    def _max_readers(self) -> int:
        """Returns the limit of readers: requests to the autoscaler have no effect if they exceed the cluster."""
        readers, limit = max(1, math.floor(self._cpus / READER_CPUS)), self._reader_limit()
        return readers if limit is None else max(1, min(readers, limit))

    def _keep(self, attempt: str, number: int, block: "ray.ObjectRef[Any]", drain_from: int) -> bool:
        """Stores a block and waits until the next one is needed; returns False if the attempt is over.

        Blocks that are not taken from Ray Data hold back its readers, as intended. But once group ``drain_from``, the
        last of an execution, is being read, the remaining blocks are taken so that the next execution can start.
        """
        with self._changed:
            if attempt != self._attempt:
                return False
            self._remaining -= 1
            self._reading.pop(number, None)
            if number in self._unwanted:
                self._unwanted.discard(number)
            else:
                self._blocks[number] = block
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: attempt != self._attempt or self._requested > number + 1 or self._begun >= drain_from
            )
            return attempt == self._attempt

    def take(self, attempt: str, number: int) -> GroupResult:
        """Waits up to 2 s for a group, and returns it and removes it from the server.

        Raises:
            UnknownAttempt: A different attempt is served.
            RuntimeError: Ray Data has failed.
        """
        with self._changed:
            self._check(attempt)
            self._requested = max(self._requested, number + 1)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: attempt != self._attempt or self._fault or number in self._blocks or number in self._unwanted,
                timeout=_MAX_CALL_S,
            )
            self._check(attempt)
            if number in self._blocks:
                return GroupResult([self._blocks.pop(number)])
            if self._fault:
                raise RuntimeError(f"Ray Data has failed: {self._fault}")
            return GroupResult([], number in self._unwanted)

    def skip_group(self, attempt: str, number: int, rank: int) -> None:
        """Skips a group that a worker reads for itself, unless a reader has begun it: it is then read twice."""
        with self._changed:
            if attempt == self._attempt:
                self._reading_locally.add(rank)
                if number not in self._reading:
                    self._unwanted.add(number)
                    self._changed.notify_all()

    def report_waiting(self, attempt: str, rank: int) -> None:
        """Records that a worker has been without batches for a while."""
        with self._changed:
            if attempt == self._attempt:
                self._waiting.add(rank)

    def report_resumed(self, attempt: str, rank: int) -> None:
        """Records that a worker receives batches from the server again."""
        with self._changed:
            if attempt == self._attempt:
                self._waiting.discard(rank)
                self._reading_locally.discard(rank)

    def report_first_batches(self, attempt: str, rank: int, workers: int) -> bool:
        """Records that a worker has its first batches; waits up to 2 s and returns whether all workers have theirs."""
        with self._changed:
            self._check(attempt)
            self._have_batches.add(rank)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: attempt != self._attempt or len(self._have_batches) == workers, timeout=_MAX_CALL_S
            )
            self._check(attempt)
            return len(self._have_batches) == workers

    def _check(self, attempt: str) -> None:
        if attempt != self._attempt:
            raise UnknownAttempt("the batch server has restarted or serves other workers; these workers restart too")

    def begin_group(self, attempt: str, number: int, process: str, node_id: str) -> bool:
        """Returns whether a group is still needed, and if so counts the reader that calls it as active."""
        with self._changed:
            if attempt != self._attempt:
                return False
            self._begun = max(self._begun, number)
            self._changed.notify_all()
            if number in self._unwanted:
                return False
            self._reading[number] = _Reading(process, node_id)
            return True

    def end_group(self, attempt: str, number: int) -> None:
        """Records that a reader has finished a group."""
        with self._changed:
            if attempt == self._attempt:
                self._reading.pop(number, None)

    def readers(self) -> ReaderPoolState:
        """Returns the active readers and the waiting workers."""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        alive = {node["NodeID"] for node in nodes}
        pool = [node for node in nodes if self._labels.items() <= node.get("Labels", {}).items()]
        cpus = sum(node["Resources"].get("CPU", 0) for node in pool)
        free = ray.available_resources().get("CPU", 0)
        with self._changed:
            readers = {reading.process for reading in self._reading.values() if reading.node_id in alive}
            active_cpus = math.ceil(READER_CPUS * len(readers))
            return ReaderPoolState(
                active_cpus=active_cpus,
                requested_cpus=min(self._cpus, max(math.ceil(READER_CPUS * self._remaining), 1)),
                waiting=tuple(sorted(self._waiting)),
                reading_locally=tuple(sorted(self._reading_locally)),
                pool_exhausted=cpus <= active_cpus if self._labels else free < READER_CPUS,
            )


@dataclass(frozen=True)
class GroupServerClient:
    """The readers' client of the batch server; a :class:`mulan.data.pipeline.GroupServer`."""

    handle: Any
    attempt: str

    def begin_group(self, number: int) -> bool:
        context = ray.get_runtime_context()
        wanted = self.handle.begin_group.remote(self.attempt, number, context.get_worker_id(), context.get_node_id())
        return bool(ray.get(wanted))

    def end_group(self, number: int) -> None:
        self.handle.end_group.remote(self.attempt, number)


def start_batch_server(
    *,
    cpus: int,
    reader_limit: Callable[[], int | None],
    label_selector: Mapping[str, str],
    max_workers: int,
    segment_groups: int,
) -> Any:
    """Starts the batch server of a run on this node and returns its handle. It ends with this process.

    Args:
        cpus: Maximum number of CPUs that read at a time.
        reader_limit: Returns the number of readers for which the cluster can ever have room; None if no limit is known.
        label_selector: Labels of the nodes that may read; empty for any node.
        max_workers: Maximum number of training workers.
        segment_groups: Number of groups of the first execution of Ray Data; see :mod:`mulan.data.pipeline`.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = ray.remote(BatchServer).options(
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=4 * max_workers + 16,  # blocking calls of workers, and calls of readers in between
        scheduling_strategy=here,
    )
    return options.remote(cpus, reader_limit, dict(label_selector), segment_groups)
