"""The batch server: an actor that has Ray Data read for all training workers, and hands each the groups that it needs.

One pool of readers serves all workers, in the order in which they need their groups. However few CPUs there are for it,
no worker goes without while others have plenty; and what a worker has made for itself, the pool leaves out.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.data.groups import Groups
from mulan.data.pipeline import execute, segments
from mulan.data.reader import MicroBatchReader

_ANSWER_S = 2.0
"""Longest that a call waits here: whoever asks must notice in between that nobody needs the answer any more."""


class Readers(NamedTuple):
    """Who reads at the moment, and who waits for it."""

    at_work: int
    """CPUs of the pool that read now."""
    asked_for: int
    waiting: tuple[int, ...]
    """Ranks of the workers that have been without batches for a while."""
    reading: tuple[int, ...]
    """Ranks of those that read for themselves."""
    no_more_nodes: bool
    """Whether the nodes that there are have no more CPUs for reading."""

    def __str__(self) -> str:
        said = [f"data: {self.at_work} of {self.asked_for} CPUs"]
        if (self.waiting or self.reading) and self.at_work < self.asked_for:
            said[0] += ", waiting for nodes" if self.no_more_nodes else ", starting"
        if self.reading:
            said.append(_told_of(self.reading, "reads for itself", "read for themselves"))
        if idle := sorted({*self.waiting} - {*self.reading}):
            said.append(_told_of(idle, "waits", "wait"))
        return "; ".join(said)


def _told_of(ranks: Sequence[int], one: str, several: str) -> str:
    named = ", ".join(map(str, ranks))
    return f"worker {named} {one}" if len(ranks) == 1 else f"workers {named} {several}"


class Answer(NamedTuple):
    """What is known of a group that is asked for."""

    block: "list[ray.ObjectRef[Any]]"
    """The block, or nothing if it is not there yet."""
    unwanted: bool = False
    """Its worker makes it, so that it never comes."""


class UnknownAttempt(RuntimeError):
    """The server serves another attempt of the run: it, or all workers, have started again."""


@dataclass(frozen=True)
class _Reading:
    process: str
    node_id: str


class BatchServer:
    """The actor's class; :func:`start_batch_server` starts it."""

    def __init__(
        self, cpus: int, room_ever: Callable[[], int | None], label_selector: Mapping[str, str], segment_groups: int
    ) -> None:
        self._cpus, self._room_ever, self._labels = cpus, room_ever, label_selector
        self._segment_groups = segment_groups
        self._changed = threading.Condition()
        self._attempt = ""
        self._thread: threading.Thread | None = None
        self._forget()

    def _forget(self) -> None:
        self._found: dict[int, ray.ObjectRef[Any]] = {}
        self._unwanted: set[int] = set()
        self._wanted = 0
        self._begun = 0
        self._reading: dict[int, _Reading] = {}
        self._arrived: set[int] = set()
        self._waiting: set[int] = set()
        self._reading_themselves: set[int] = set()
        self._left = 0
        self._fault: str | None = None

    def begin(self, attempt: str, groups: Groups, reader: "list[ray.ObjectRef[MicroBatchReader]]", me: Any) -> bool:
        """Serves another attempt from now on, in the place of the one before.

        Returns False where that one cannot be ended: Ray Data waits for CPUs that it was to read on, and would go on
        asking the autoscaler for them. This process has to end first.

        Args:
            attempt: its name.
            groups: those of all its workers.
            reader: lies once per node in the object store.
            me: this actor's handle.
        """
        with self._changed:
            self._forget()
            self._attempt = attempt
            self._left = len(groups)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=_ANSWER_S)
            if self._thread.is_alive():
                return False
        self._thread = threading.Thread(
            target=self._read, args=(attempt, groups, reader[0], ServerOfReaders(me, attempt)), daemon=True
        )
        self._thread.start()
        return True

    def _read(
        self, attempt: str, groups: Groups, reader: "ray.ObjectRef[MicroBatchReader]", server: "ServerOfReaders"
    ) -> None:
        try:
            for segment in segments(len(groups), self._segment_groups):
                blocks = execute(groups, segment, reader, server, cpus=self._max_cpus(), label_selector=self._labels)
                # the rest of the last execution may wait in it
                hurry_from = segment.stop - 1 if segment.stop < len(groups) else len(groups)
                for number, block in zip(segment, blocks, strict=True):
                    if not self._keep(attempt, number, block, hurry_from):
                        return
        except Exception as error:  # all that Ray raises; each worker that asks is told
            with self._changed:
                if attempt == self._attempt:
                    self._fault = f"{type(error).__name__}: {error}"
                    self._changed.notify_all()

    def _max_cpus(self) -> int:
        """What Ray Data may use, and so ask the autoscaler for, which would bring nothing if that were too much."""
        room = self._room_ever()
        return self._cpus if room is None else max(1, min(self._cpus, room))

    def _keep(self, attempt: str, number: int, block: "ray.ObjectRef[Any]", hurry_from: int) -> bool:
        """Keeps a block for its worker, and waits until another one is needed; False if none will be.

        Blocks that are not taken off Ray Data hold its readers back, as they should. But once group ``hurry_from``, the
        last of an execution, is begun, the rest is taken, for the next execution to begin.
        """
        with self._changed:
            if attempt != self._attempt:
                return False
            self._left -= 1
            self._reading.pop(number, None)
            if number in self._unwanted:
                self._unwanted.discard(number)
            else:
                self._found[number] = block
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: attempt != self._attempt or self._wanted > number + 1 or self._begun >= hurry_from
            )
            return attempt == self._attempt

    def take(self, attempt: str, number: int) -> Answer:
        """Returns a group to the worker that it is for, or, after some seconds, that it is not there yet.

        Raises:
            UnknownAttempt: another attempt is served.
            RuntimeError: Ray Data has failed.
        """
        with self._changed:
            self._check(attempt)
            self._wanted = max(self._wanted, number + 1)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: attempt != self._attempt or self._fault or number in self._found or number in self._unwanted,
                timeout=_ANSWER_S,
            )
            self._check(attempt)
            if number in self._found:
                return Answer([self._found.pop(number)])
            if self._fault:
                raise RuntimeError(f"Ray Data has failed: {self._fault}")
            return Answer([], number in self._unwanted)

    def leave_out(self, attempt: str, number: int, rank: int) -> None:
        """Tells that a worker makes this group for itself; one that a reader has begun is made twice."""
        with self._changed:
            if attempt == self._attempt:
                self._reading_themselves.add(rank)
                if number not in self._reading:
                    self._unwanted.add(number)
                    self._changed.notify_all()

    def waits(self, attempt: str, rank: int) -> None:
        """Tells that a worker has been without batches for a while."""
        with self._changed:
            if attempt == self._attempt:
                self._waiting.add(rank)

    def goes_on(self, attempt: str, rank: int) -> None:
        """Tells that a worker has batches again, and none of its own making."""
        with self._changed:
            if attempt == self._attempt:
                self._waiting.discard(rank)
                self._reading_themselves.discard(rank)

    def arrives(self, attempt: str, rank: int, workers: int) -> bool:
        """Tells that a worker has its first batches; returns, after some seconds, whether all workers have."""
        with self._changed:
            self._check(attempt)
            self._arrived.add(rank)
            self._changed.notify_all()
            self._changed.wait_for(lambda: attempt != self._attempt or len(self._arrived) == workers, timeout=_ANSWER_S)
            self._check(attempt)
            return len(self._arrived) == workers

    def _check(self, attempt: str) -> None:
        if attempt != self._attempt:
            raise UnknownAttempt("the batch server has started again, or serves other workers; these start again too")

    def begins(self, attempt: str, number: int, process: str, node_id: str) -> bool:
        """Called by readers: returns whether a group is still wanted, and counts the reader as at work."""
        with self._changed:
            if attempt != self._attempt:
                return False
            self._begun = max(self._begun, number)
            self._changed.notify_all()
            if number in self._unwanted:
                return False
            self._reading[number] = _Reading(process, node_id)
            return True

    def ends(self, attempt: str, number: int) -> None:
        """Called by readers: a group is made."""
        with self._changed:
            if attempt == self._attempt:
                self._reading.pop(number, None)

    def readers(self) -> Readers:
        """Returns who reads at the moment, and who waits."""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        alive = {node["NodeID"] for node in nodes}
        of_pool = [node for node in nodes if self._labels.items() <= node.get("Labels", {}).items()]
        cpus = sum(node["Resources"].get("CPU", 0) for node in of_pool)
        free = ray.available_resources().get("CPU", 0)
        with self._changed:
            at_work = {one.process for one in self._reading.values() if one.node_id in alive}
            return Readers(
                at_work=len(at_work),
                asked_for=min(self._cpus, max(self._left, 1)),
                waiting=tuple(sorted(self._waiting)),
                reading=tuple(sorted(self._reading_themselves)),
                no_more_nodes=cpus <= len(at_work) if self._labels else free < 1,
            )


@dataclass(frozen=True)
class ServerOfReaders:
    """The server as its readers know it; see :class:`mulan.data.pipeline.GroupServer`."""

    handle: Any
    attempt: str

    def begins(self, number: int) -> bool:
        context = ray.get_runtime_context()
        asked = self.handle.begins.remote(self.attempt, number, context.get_worker_id(), context.get_node_id())
        return bool(ray.get(asked))

    def ends(self, number: int) -> None:
        self.handle.ends.remote(self.attempt, number)


def start_batch_server(
    *,
    cpus: int,
    room_ever: Callable[[], int | None],
    label_selector: Mapping[str, str],
    max_workers: int,
    segment_groups: int,
) -> Any:
    """Starts the server of a run beside this process, and returns its handle. It ends with this process.

    Args:
        cpus: most CPUs that read at a time.
        room_ever: how many there can ever be; None where no limit is known.
        label_selector: labels of the nodes that may read; none for any.
        max_workers: training workers that it may have to serve.
        segment_groups: groups of the first execution of Ray Data; see :mod:`mulan.data.pipeline`.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = ray.remote(BatchServer).options(
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=4 * max_workers + 16,  # calls that wait, and those of readers in between
        scheduling_strategy=here,
    )
    return options.remote(cpus, room_ever, dict(label_selector), segment_groups)
