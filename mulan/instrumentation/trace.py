"""The times in a trace of PyTorch's profiler: how the time of each step was spent, and on which operators.

A trace is read from the file in Chrome's format that the profiler exports, because building the profiler's own tables
takes longer than the steps.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STEP = "ProfilerStep#"
"""Prefix of the annotation of a step, by which TensorBoard and other viewers of traces know steps."""
DATA = "waiting for data"
"""Name of the annotation of the time in which a worker waits for a batch."""

_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_COMMUNICATION = ("c10d::", "record_param_comms", "nccl:", "gloo:")


@dataclass(frozen=True)
class StepTimes:
    """The parts of a step's duration on one worker, in seconds, which add up to ``total``.

    On a GPU, ``compute`` is the time in which any kernel runs but those of NCCL, and copies; ``collectives`` is the
    time in which only NCCL's run; ``data`` and ``host`` are the rest, in which the device is idle, while the host waits
    for a batch or does anything else. On a CPU, ``compute`` is the time in operators, and ``collectives`` that in which
    no operator runs, but a collective. Waiting for other workers is part of ``collectives``.
    """

    step: int
    total: float
    compute: float
    collectives: float
    data: float
    host: float


@dataclass
class OperatorTime:
    """The time of an operator itself, without the operators that it calls, in seconds, and the number of its calls.

    On a GPU it is the time of the kernels that the operator starts, on a CPU that of the operator without collectives.
    """

    seconds: float = 0.0
    calls: int = 0


@dataclass(frozen=True)
class WorkerProfile:
    """The times of the profiled steps on one worker."""

    steps: list[StepTimes]
    operators: dict[str, OperatorTime] = field(default_factory=dict)
    """By name of the operator; collectives are not among them."""


def read_trace(path: str) -> WorkerProfile:
    """Returns the times in a trace, a local JSON file, of the steps that are annotated with :data:`STEP`."""
    with open(path, encoding="utf-8") as file:
        return profile_of(json.load(file)["traceEvents"])


def profile_of(events: Iterable[Mapping[str, Any]]) -> WorkerProfile:
    """Returns the times in the events of a trace; they are in microseconds."""
    by_category: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            by_category[event.get("cat", "")].append(event)
    annotations = by_category["user_annotation"]
    windows = sorted((event for event in annotations if event["name"].startswith(STEP)), key=lambda event: event["ts"])
    data = Intervals.of(event for event in annotations if event["name"] == DATA)
    kernels = [event for category in _ON_DEVICE for event in by_category[category]]
    operators = by_category["cpu_op"]
    if kernels:
        communication = Intervals.of(event for event in kernels if _is_communication(event))
        kernels = [event for event in kernels if not _is_communication(event)]
        compute = Intervals.of(kernels)
        steps = _split(windows, compute=compute, collectives=communication, data=data, first="compute")
        return WorkerProfile(steps, _device_times(_inside(windows, kernels), operators))
    # gloo's collectives run in threads of their own, for which the worker waits
    communication = Intervals.of(event for event in annotations if _is_communication(event))
    own = _own_times(operators, communication)
    leaves = Intervals.of(event for event, time in own if time.is_leaf and not _is_communication(event))
    steps = _split(windows, compute=leaves, collectives=communication, data=data, first="data")
    times: dict[str, OperatorTime] = defaultdict(OperatorTime)
    inside = {id(event) for event in _inside(windows, operators)}
    for event, time in own:
        if id(event) in inside and not _is_communication(event):
            times[event["name"]].seconds += time.own_us / 1e6
            times[event["name"]].calls += time.is_call
    return WorkerProfile(steps, dict(times))


def _is_communication(event: Mapping[str, Any]) -> bool:
    name, is_kernel = event["name"], event["cat"] in _ON_DEVICE
    return "nccl" in name.lower() if is_kernel else name.startswith(_COMMUNICATION)


class Intervals:
    """A union of intervals of time, in microseconds."""

    def __init__(self, intervals: np.ndarray) -> None:
        """``intervals``: [n, 2], of begins and ends, in any order; they may overlap."""
        intervals = intervals[np.argsort(intervals[:, 0])].reshape(-1, 2)
        ends = np.maximum.accumulate(intervals[:, 1])
        new = np.ones(len(intervals), bool)
        new[1:] = intervals[1:, 0] > ends[:-1]
        last = np.append(new[1:], True)[: len(intervals)]
        self._edges = np.stack([intervals[new, 0], ends[last]], axis=1).ravel()
        lengths = np.diff(self._edges, prepend=self._edges[:1])
        lengths[::2] = 0.0  # the gap before an interval
        self._covered = np.cumsum(lengths)
        self._intervals = intervals

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> "Intervals":
        spans = [(event["ts"], event["ts"] + event["dur"]) for event in events]
        return cls(np.array(spans, np.float64).reshape(-1, 2))

    def __or__(self, other: "Intervals") -> "Intervals":
        return Intervals(np.concatenate([self._intervals, other._intervals]))

    def within(self, begin: float, end: float) -> float:
        """Returns the length of the part of the union that lies between two times."""
        if not len(self._edges):
            return 0.0
        before, after = np.interp([begin, end], self._edges, self._covered)
        return float(after - before)


def _split(
    windows: Sequence[Mapping[str, Any]],
    *,
    compute: Intervals,
    collectives: Intervals,
    data: Intervals,
    first: str,
) -> list[StepTimes]:
    """Splits the steps; what several parts cover counts for the first one of them.

    Args:
        first: The part that precedes the others: on a CPU, operators that run while a worker takes a batch read it.
    """
    parts = {"compute": compute, "collectives": collectives, "data": data}
    order = [first, *(name for name in parts if name != first)]
    unions = [parts[order[0]]]
    for name in order[1:]:
        unions.append(unions[-1] | parts[name])
    steps = []
    for event in windows:
        begin, end = event["ts"], event["ts"] + event["dur"]
        covered = [0.0, *(union.within(begin, end) for union in unions)]
        seconds = {name: (covered[at + 1] - covered[at]) / 1e6 for at, name in enumerate(order)}
        total = (end - begin) / 1e6
        step = int(event["name"].removeprefix(STEP))
        steps.append(StepTimes(step=step, total=total, **seconds, host=total - covered[-1] / 1e6))
    return steps


@dataclass
class _OwnTime:
    own_us: float
    own_communication_us: float
    is_leaf: bool = True
    is_call: bool = True
    """Whether it is called by no operator of the same name, by which other forms of an operator are counted once."""


def _own_times(
    operators: Sequence[Mapping[str, Any]], communication: Intervals
) -> list[tuple[Mapping[str, Any], _OwnTime]]:
    """Returns each operator with its time without the operators that it calls, and without collectives.

    An operator that calls none keeps its whole time: a collective that is in progress meanwhile runs beside it.
    """
    result: list[tuple[Mapping[str, Any], _OwnTime]] = []
    open_: list[tuple[float, Mapping[str, Any], _OwnTime]] = []
    for event in sorted(operators, key=lambda event: (event["tid"], event["ts"], -event["dur"])):
        begin, duration = event["ts"], event["dur"]
        time = _OwnTime(duration, communication.within(begin, begin + duration))
        while open_ and (open_[-1][1]["tid"] != event["tid"] or open_[-1][0] <= begin):
            open_.pop()
        if open_:
            _, caller_event, caller = open_[-1]
            caller.is_leaf, time.is_call = False, caller_event["name"] != event["name"]
            caller.own_us -= duration
            caller.own_communication_us -= time.own_communication_us
        result.append((event, time))
        open_.append((begin + duration, event, time))
    for _, time in result:
        if not time.is_leaf:
            time.own_us = max(0.0, time.own_us - max(0.0, time.own_communication_us))
    return result


def _device_times(
    kernels: Iterable[Mapping[str, Any]], operators: Iterable[Mapping[str, Any]]
) -> dict[str, OperatorTime]:
    """Returns the time of kernels by the operator that started them; by their own name if none did."""
    names = {call: event["name"] for event in operators if (call := _external_id(event)) is not None}
    times: dict[str, OperatorTime] = defaultdict(OperatorTime)
    started: dict[str, set[Any]] = defaultdict(set)
    for event in kernels:
        call = _external_id(event)
        name = event["name"] if call is None else names.get(call, event["name"])
        times[name].seconds += event["dur"] / 1e6
        started[name].add(id(event) if call is None else call)  # an operator may start several kernels
    for name, calls in started.items():
        times[name].calls = len(calls)
    return dict(times)


def _external_id(event: Mapping[str, Any]) -> Any:
    """Returns the number that an operator shares with the kernels that it starts; None if it has none."""
    return event.get("args", {}).get("External id")


def _inside(windows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the events that begin within the steps."""
    if not windows:
        return []
    begins = np.array([event["ts"] for event in windows])
    ends = begins + np.array([event["dur"] for event in windows])
    at = np.array([event["ts"] for event in events], np.float64)
    index = np.searchsorted(begins, at, side="right") - 1
    keep = (index >= 0) & (at < ends[np.maximum(index, 0)])
    return [event for event, kept in zip(events, keep, strict=True) if kept]
