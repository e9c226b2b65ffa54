"""A measurement on a GPU as :mod:`mulan.benchmarks.gpu_process` takes it: its parameters, time and figures."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from mulan.benchmarks.synthetic import BERT_WIDTH

READING = "reading: "
"""Prefix of the lines that state a figure, since libraries print others."""


@dataclass(frozen=True)
class GpuRequest:
    """The parameters of a measurement."""

    subject: str
    """Key of :data:`mulan.benchmarks.gpu_process.SUBJECTS`."""
    label: str
    """Begin of the name of every figure."""
    device: str
    """Device, ``cpu`` or ``cuda``."""
    rounds: int
    """Maximum number of measurements of each figure."""
    seconds: float = math.inf
    """Time since the begin of the measurement after which nothing is measured for the second time."""
    recipe_toml: str = ""
    """Recipe of a step, with one worker."""
    bert_width: int = BERT_WIDTH
    """Hidden size of the text tower, if it is BERT."""
    sizes: tuple[int, ...] = ()
    """Numbers of pairs of a loss, or numbers of rows of square matrices: in bfloat16, in float64."""
    folder: str = ""
    """Folder of the traces."""


@dataclass(frozen=True)
class GpuReading:
    """A figure, or the reason why there is none."""

    name: str
    values: tuple[float, ...]
    """Measured values, in order; empty if there are none."""
    unit: str = ""
    remark: str = ""


Emit = Callable[[GpuReading], None]


class MeasurementClock:
    """The time of a measurement, which begins now."""

    def __init__(self, request: GpuRequest) -> None:
        self._request, self._begun = request, time.perf_counter()

    def seconds(self) -> float:
        """Returns the seconds since the begin."""
        return time.perf_counter() - self._begun

    def is_up(self) -> bool:
        """Returns whether the time of the measurement is over."""
        return self.seconds() >= self._request.seconds

    def repeated(self, measure: Callable[[], float]) -> Iterator[tuple[float, ...]]:
        """Yields all values after each measurement: one at least, and the others only until the time is up."""
        taken: list[float] = []
        while len(taken) < self._request.rounds and not (taken and self.is_up()):
            taken.append(measure())
            yield tuple(taken)


def print_reading(reading: GpuReading) -> None:
    """Prints a figure, for the process that waits for it."""
    print(f"{READING}{json.dumps(asdict(reading))}", flush=True)
