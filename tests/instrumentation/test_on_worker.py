"""Tests which instruments a worker has."""

from pathlib import Path

import pytest
import torch

from mulan.instrumentation.hang_watch import HangWatch
from mulan.instrumentation.on_worker import instruments_on_worker, worker_environment
from mulan.instrumentation.profiler import StepProfiler
from mulan.instrumentation.settings import InstrumentSettings, StepRange

BATCHES = ["first", "second"]


def instruments(
    settings: InstrumentSettings, folder: Path, *, steps_done: int = 0, events: list[str] | None = None
) -> list[type]:
    """Returns the classes of a worker's instruments, and asserts that it receives its batches."""
    with instruments_on_worker(
        settings,
        iter(BATCHES),
        run_uri=str(folder),
        steps_done=steps_done,
        collective_timeout_s=600.0,
        device=torch.device("cpu"),
        report=None if events is None else lambda text, detail: events.append(text),
    ) as (found, batches):
        assert list(batches) == BATCHES
        return [type(one) for one in found]


def test_without_settings_there_are_none(tmp_path: Path) -> None:
    assert instruments(InstrumentSettings(), tmp_path) == []
    assert worker_environment(InstrumentSettings()) == {}


def test_the_profiler_is_outside_the_watch(tmp_path: Path) -> None:
    settings = InstrumentSettings(StepRange(3, 4), watch_hangs=True)
    assert instruments(settings, tmp_path, events=[]) == [StepProfiler, HangWatch]
    assert worker_environment(settings) == {"TORCH_FR_BUFFER_SIZE": "2000"}


@pytest.mark.parametrize(
    ("steps_done", "event"), [(2, []), (3, ["of the steps 3:4, 4:4 are profiled, since training continues from 3"])]
)
def test_a_run_that_continues_within_the_range_profiles_the_rest(
    steps_done: int, event: list[str], tmp_path: Path
) -> None:
    events: list[str] = []
    settings = InstrumentSettings(StepRange(3, 4))
    assert instruments(settings, tmp_path, steps_done=steps_done, events=events) == [StepProfiler]
    assert events == event


def test_a_run_beyond_the_range_profiles_nothing_more(tmp_path: Path) -> None:
    assert instruments(InstrumentSettings(StepRange(3, 4)), tmp_path, steps_done=4, events=[]) == []
