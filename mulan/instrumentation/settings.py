"""The settings of a run's instruments, checked before anything starts."""

import re
from dataclasses import dataclass

from mulan.config.errors import MulanError

MAX_PROFILED_STEPS = 10
"""The maximum number of steps in a profile: a step has up to hundreds of thousands of events."""
TIMES_THE_MEDIAN = 10.0
"""A step that takes this many times the median of the recent ones is reported as hanging."""


class ProfileRefused(MulanError):
    """The requested steps cannot be profiled."""


@dataclass(frozen=True)
class StepRange:
    """The steps from ``first`` to ``last``, both included, counted from 1."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"

    @classmethod
    def parse(cls, text: str) -> "StepRange":
        """Returns the range that ``A:B`` states.

        Raises:
            ValueError: The text is not of that form, or states no range of 1 to :data:`MAX_PROFILED_STEPS` steps.
        """
        found = re.fullmatch(r"([0-9]{1,15}):([0-9]{1,15})", text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form A:B, such as 20:22")
        first, last = map(int, found.groups())
        if not 1 <= first <= last:
            raise ValueError(f"{text} is no range of steps: 1 <= A <= B is needed")
        if last - first >= MAX_PROFILED_STEPS:
            raise ValueError(f"{text} are {last - first + 1} steps; at most {MAX_PROFILED_STEPS} are profiled")
        return cls(first, last)

    def after(self, steps_done: int) -> "StepRange | None":
        """Returns the part of the range that is left after ``steps_done`` steps; None if nothing is."""
        return StepRange(max(self.first, steps_done + 1), self.last) if self.last > steps_done else None

    def check(self, *, run_uri: str, steps: int, steps_done: int) -> None:
        """Checks that a run will train at least one of the steps.

        Args:
            run_uri: URI of the run, for the message.
            steps: Number of steps of the recipe.
            steps_done: Number of steps done by the newest checkpoint; 0 without one.

        Raises:
            ProfileRefused: The range is beyond the last step, or the run is beyond the range.
        """
        if self.last > steps:
            raise ProfileRefused(
                f"--profile-steps {self}: the last step is {steps} (train.steps); give steps up to it, or set more"
            )
        if self.after(steps_done) is None:
            raise ProfileRefused(
                f"--profile-steps {self}: run {run_uri} continues from its checkpoint of step {steps_done}; give later "
                "steps, or another --name"
            )


@dataclass(frozen=True)
class InstrumentSettings:
    """Which instruments the workers of a run have."""

    profile_steps: StepRange | None = None
    watch_hangs: bool = False
