"""Keeps data tasks and Ray Data's scheduler out of the way of training while they are ahead of it.

The scheduler of Ray 2.60 steps also when there is nothing to do, and without end when every running task waits for room
in the output. These are the cores that the training workers need.
"""

import os
import time
from functools import cache
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

_PAUSE_S = 0.05
"""Longer ones leave CPUs idle when the data, and not training, is the bottleneck: tasks are begun between pauses."""
_NICE = 15


class PauseWhileAhead(ExecutionCallback):
    """A pause after each step of the scheduler that leaves finished blocks for which training has not asked yet."""

    def on_execution_step(self, executor: Any) -> None:
        if not executor._consumer_idling():
            time.sleep(_PAUSE_S)


@cache
def give_way() -> None:
    """Puts this process behind training workers on the same cores, at the nice value that Ray gives its own; once."""
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
