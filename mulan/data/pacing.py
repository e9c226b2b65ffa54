"""Keeps Ray Data's scheduler from spinning while training is slower than the data.

The scheduler of Ray 2.60 takes a step ten times a second, a few milliseconds of CPU each; when every running task waits
for room in the output it steps without end. These are the cores that the training workers need.
"""

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

_PAUSE_S = 0.25
"""Far less than training takes for the batches that wait."""


class PauseWhileAhead(ExecutionCallback):
    """A pause after each step of the scheduler that leaves finished blocks for which training has not asked yet."""

    def on_execution_step(self, executor: Any) -> None:
        if not executor._consumer_idling():
            time.sleep(_PAUSE_S)
