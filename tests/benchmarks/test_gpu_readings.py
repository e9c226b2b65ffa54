"""Tests how often a figure is measured, and how it reaches another process."""

import itertools
import json

import pytest

from mulan.benchmarks.gpu_readings import READING, GpuReading, GpuRequest, MeasurementClock, print_reading


@pytest.mark.parametrize(("seconds", "times"), [(3600.0, 3), (0.0, 1)])
def test_a_figure_is_measured_until_the_time_is_up_but_once_at_least(seconds: float, times: int) -> None:
    clock, values = MeasurementClock(GpuRequest("step", "m_ast", "cpu", rounds=3, seconds=seconds)), itertools.count(1)
    found = list(clock.repeated(lambda: float(next(values))))
    assert found == [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)][:times]
    assert clock.is_up() == (seconds == 0)
    assert 0 <= clock.seconds() < 3600


def test_a_printed_reading_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    reading = GpuReading("m_ast: step", (1.5, 2.0), "s", "of 5,120 pairs")
    print_reading(reading)
    out = capsys.readouterr().out
    assert out.startswith(READING) and out.count("\n") == 1
    values = json.loads(out.removeprefix(READING))
    assert GpuReading(**{**values, "values": tuple(values["values"])}) == reading
