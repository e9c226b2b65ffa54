"""What an execution of Ray Data tells while it runs."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback


class AtEachStep(ExecutionCallback, ABC):
    """Called after each step of the scheduler of an execution, in its thread. Each execution makes one of its own."""

    def on_execution_step(self, executor: Any) -> None:
        self.step(executor)

    @abstractmethod
    def step(self, executor: Any) -> None:
        """Does what is to be done; the scheduler waits meanwhile, and an exception ends the execution.

        Args:
            executor: Ray's own, opaque here: for :func:`actors_of`.
        """


def call_at_each_step(context: DataContext, kind: type[AtEachStep]) -> None:
    """Has executions of this context call an instance of ``kind``, which is made without arguments; once is enough."""
    if kind not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(kind)


class Actors(NamedTuple):
    """How many actors an execution has."""

    running: int
    """Actors that take tasks."""
    pending: int
    """Actors that were asked for and have not started: for want of a free CPU, or because a node is yet to come."""
    restarting: int
    """Actors that ran, on a node or in a process that is gone, and have not started again."""


def actors_of(executor: Any) -> Actors:
    """Counts the actors of all actor pools of an execution; to be called within :meth:`AtEachStep.step`."""
    pools = [operator.get_actor_info() for operator in executor._topology]
    return Actors(
        running=sum(pool.running for pool in pools),
        pending=sum(pool.pending for pool in pools),
        restarting=sum(pool.restarting for pool in pools),
    )
