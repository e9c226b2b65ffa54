"""Keeps data tasks and Ray Data's scheduler out of the way of training."""

import os
import time

from mulan.private_ray.execution import AtEachStep

_PAUSE_S = 0.05
"""Short, since a reader that is done with a group waits for the scheduler to give it the next one."""
_NICE = 15


class PauseBetweenSteps(AtEachStep):
    """A pause after each step of the scheduler.

    That of Ray 2.60 steps also when there is nothing to do, and without end when every running task waits for room in
    the output. These are the cores that the training workers need.
    """

    def step(self) -> None:
        time.sleep(_PAUSE_S)


def give_way() -> None:
    """Puts this thread behind training workers on the same cores, at the nice value that Ray gives its own.

    Linux keeps the value for each thread; an actor is made in one and called in another.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
