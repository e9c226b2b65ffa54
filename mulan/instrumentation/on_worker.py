"""The instruments of one worker, as the settings of the run require."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

from mulan.distributed.collectives import all_gather_objects
from mulan.instrumentation.flight_recorder import FLIGHT_RECORDER
from mulan.instrumentation.hang_reports import hangs_uri
from mulan.instrumentation.hang_watch import HangLimits, HangWatch
from mulan.instrumentation.profiler import StepProfiler
from mulan.instrumentation.settings import InstrumentSettings
from mulan.storage import filesystem
from mulan.training.instrument import StepInstrument

T = TypeVar("T")

_HANG_SHARE = 0.5
"""The time after which any step is reported, as a fraction of ``scale.collective_timeout_s``, which ends it."""


@contextmanager
def instruments_on_worker(
    settings: InstrumentSettings,
    batches: Iterator[T],
    *,
    run_uri: str,
    steps_done: int,
    collective_timeout_s: float,
    device: torch.device,
    report: Callable[[str, str], None] | None,
) -> Iterator[tuple[list[StepInstrument], Iterator[T]]]:
    """Yields the instruments of this worker, and its batches as they observe them; ends them afterwards. Collective.

    Args:
        settings: Settings of the run's instruments.
        batches: Batches of this worker.
        run_uri: Folder of the run, below which they write: ``profile/`` and ``hangs/``.
        steps_done: Number of steps done before; profiled are those that are left.
        collective_timeout_s: Timeout of collectives, before which a step that hangs is reported.
        device: Device of this worker.
        report: Called on the first worker with an event and its details, which may be empty; None on the others.
    """
    instruments: list[StepInstrument] = []
    with ExitStack() as stack:
        wanted = settings.profile_steps
        left = wanted.after(steps_done) if wanted else None
        if wanted and left:
            if report and left != wanted:
                report(f"of the steps {wanted}, {left} are profiled, since training continues from {steps_done}", "")
            folder_uri = filesystem.join(run_uri, "profile", f"steps_{wanted.first}-{wanted.last}")
            profiler = StepProfiler(left, folder_uri, device, report=report)
            stack.callback(profiler.close)
            instruments.append(profiler)
            batches = profiler.annotated(batches)
        if settings.watch_hangs:
            limits = HangLimits(at_most=_HANG_SHARE * collective_timeout_s)
            report_line = None if report is None else lambda text: report(text, "")
            # an attempt may hang in the same step as the one before it; all workers use the first one's clock
            begun = all_gather_objects(time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime()))[0]
            watch = HangWatch(filesystem.join(hangs_uri(run_uri), begun), report=report_line, limits=limits)
            stack.callback(watch.close)
            instruments.append(watch)  # innermost: starting and ending a profile is no part of a step
        yield instruments, batches


def worker_environment(settings: InstrumentSettings) -> dict[str, str]:
    """Returns the environment variables that the instruments of a worker need."""
    return FLIGHT_RECORDER if settings.watch_hangs else {}
