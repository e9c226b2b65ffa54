"""What is done while an execution of Ray Data runs."""

from abc import ABC, abstractmethod
from typing import Any

from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback


class AtEachStep(ExecutionCallback, ABC):
    """Called after each step of the scheduler of an execution, in its thread. Each execution makes one of its own."""

    def on_execution_step(self, executor: Any) -> None:
        self.step()

    @abstractmethod
    def step(self) -> None:
        """Does what is to be done; the scheduler waits meanwhile, and an exception ends the execution."""


def call_at_each_step(context: DataContext, kind: type[AtEachStep]) -> None:
    """Has executions of this context call an instance of ``kind``, which is made without arguments; once is enough."""
    if kind not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(kind)
