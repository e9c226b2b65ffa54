"""What is called while an execution runs; tests/data/test_pacing.py has Ray call it."""

from ray.data import DataContext

from mulan.private_ray.core import SchedulerStepCallback, add_scheduler_callback


class Counted(SchedulerStepCallback):
    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        self.steps += 1


def test_a_kind_is_made_once_for_each_execution() -> None:
    context = DataContext()
    for _ in range(2):
        add_scheduler_callback(context, Counted)
    assert context.execution_callback_classes.count(Counted) == 1


def test_a_step_of_rays_is_one_of_ours() -> None:
    counted = Counted()
    for _ in range(3):
        counted.on_execution_step(None)
    assert counted.steps == 3
