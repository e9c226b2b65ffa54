"""Suppression of what Ray Data prints: progress bars, log lines and warnings."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ray.data import DataContext
from ray.util.annotations import RayDeprecationWarning


def hide_progress_bars(context: DataContext) -> None:
    """Disables Ray Data's progress bars in executions of a context."""
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False


@contextmanager
def quiet_ray_data() -> Iterator[DataContext]:
    """Hides progress bars and log lines of the datasets that are executed in the block; errors are raised.

    Yields the context of these datasets, which may be changed.
    """
    context = DataContext.get_current().copy()
    hide_progress_bars(context)
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context), warnings.catch_warnings():
            # max_restarts has no named parameter in Ray 2.60, and all others are deprecated
            warnings.simplefilter("ignore", RayDeprecationWarning)
            yield context
    finally:
        log.setLevel(level)
