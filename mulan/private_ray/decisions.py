"""What a training run decides in Ray Train's controller: nothing here needs Ray."""

from enum import Enum
from typing import Protocol


class WorkerCounts(Protocol):
    """Decides how many workers are asked for and taken, and when those at work are ended to take another number."""

    def workers_for(self, room: int) -> int:
        """Chooses a number of workers, at most ``room``, which is how many there are resources for; 0 for none."""

    def ask_for(self) -> int:
        """Chooses for how many workers the autoscaler is asked to make room, at every poll.

        It brings nodes for all that are asked for or, where its limits forbid some of them, for none.
        """

    def change_now(self, offer: int | None) -> bool:
        """Decides whether the workers at work are ended now, from their newest checkpoint on ``offer`` others go on.

        It is asked at every poll of the workers, every 2 s or so. What it raises ends the run.

        Args:
            offer: a number that :meth:`workers_for` gave, and other than that at work; None while there is no such
                offer, or no longer.
        """


class Verdict(Enum):
    """What follows from a failure of workers or of the controller."""

    GIVE_UP = "the run ends"
    COUNT = "one more failure: workers start again, unless that makes too many"
    COUNT_ANEW = "the first failure: those before it no longer count"
