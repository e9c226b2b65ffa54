"""Tests the scheduler callback without an execution; tests/data/test_pipeline_pacing.py tests it with Ray Data."""

from ray.data import DataContext

from mulan.private_ray.core import SchedulerStepCallback, add_scheduler_callback


class CountingCallback(SchedulerStepCallback):
    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        self.steps += 1


def test_a_callback_is_registered_once() -> None:
    context = DataContext()
    for _ in range(2):
        add_scheduler_callback(context, CountingCallback)
    assert context.execution_callback_classes.count(CountingCallback) == 1


def test_step_is_called_after_each_scheduling_step() -> None:
    counted = CountingCallback()
    for _ in range(3):
        counted.on_execution_step(None)
    assert counted.steps == 3
