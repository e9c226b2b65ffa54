"""Keeps Ray Data's scheduler from spinning while training is slower than the data.

When every running task waits for room in the output, the scheduler of Ray 2.60 asks again at once, without end, on the
cores that the training workers need.
"""

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

_PAUSE_S = 0.05


class PauseUnderBackpressure(ExecutionCallback):
    """A pause after each step of the scheduler that found no room for output."""

    def on_execution_step(self, executor: Any) -> None:
        if any(operator._in_task_output_backpressure for operator in executor._topology):
            time.sleep(_PAUSE_S)
