"""What is told while trials wait for the resources of their workers."""

import time
from typing import Any

from ray.tune import Callback

from mulan.config.sections import Scale
from mulan.training.heartbeat import PERIOD_S, waited_for


class Waiting(Callback):
    """A line every half minute while trials wait for nodes: what they wait for, and why that is not there."""

    def __init__(self, scale: Scale) -> None:
        self._scale, self._asked_s = scale, time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._asked_s < PERIOD_S:
            return
        self._asked_s = time.monotonic()
        if (missing := waited_for(self._scale)) is not None:
            print(f"tune  waiting for {missing}", flush=True)
