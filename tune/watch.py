"""The driver's view of running trials: prints what happens, and records how trials end."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback
from rich.console import Console

from mulan.config.errors import MulanError
from mulan.launch.policies import describe_error
from mulan.runs.lease import Fence
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from tune.plan import SweepPlan
from tune.trial import Failure, FailureKind, Trial

ERROR, ERROR_KIND = "permanent_error", "permanent_error_kind"
"""The keys under which a trial reports the message and the kind of an error that another attempt would meet again."""

_OUT_OF_MEMORY = re.compile(r"OutOfMemory|out of memory|low on memory", re.IGNORECASE)
"""What the errors of GPUs, and of Ray about a worker that it stopped to keep a node alive, have in common."""


class Watch(Callback):
    """Prints a line for every validation of every trial, records how trials end, and counts how often in a row the
    process of a trial was lost."""

    def __init__(
        self,
        plan: SweepPlan,
        trials: Sequence[Trial],
        fence: Fence,
        console: Console,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            fence: The fence of the sweep's lease, which another driver may take over.
            on_change: Called after every validation and every end of a trial.
        """
        self._objective, self._losses = plan.objective, plan.recipe.scale.max_failures
        self._train_steps = plan.recipe.train.steps
        self._fence, self._console, self._on_change = fence, console, on_change
        self._trials = {one.run.name: one for one in trials}
        self._steps: dict[str, int] = {}
        self.errors: list[str] = []
        """The errors of trials that another attempt would meet again."""
        self.lost: list[str] = []
        """The errors for which trials were given up that another call may complete."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its callbacks, to restore a sweep in a way that is not used

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name, step = _name(trial), result.get("step", 0)
        if ERROR in result or self._objective.reported not in result:
            return
        values = "  ".join(trial.config["trial"]["settings"]) or "the recipe's own values"
        self._print(f"{name}  step {step}  {self._objective.label} {result[self._objective.reported]:.3f}  {values}")
        # Tune counts all failures of a trial; here only those since its last progress count
        if step > self._steps.get(name, 0):
            self._steps[name] = step
            trial.max_failures = trial.num_failures + self._losses
        self._on_change()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._print(f"{_name(trial)}  failed, or its process was lost; it continues in another one")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, last = _name(trial), trial.last_result or {}
        self._fence.check()
        if ERROR in last:
            self.errors.append(last[ERROR])
            self._fail(name, last[ERROR], last[ERROR_KIND])
            return
        with suppress(StorageError):  # the next call then runs the trial again
            one = self._trials[name]
            # a trial whose process was lost after its last checkpoint does not report that validation again
            one.end(max(last.get("step", 0), one.steps_saved()), train_steps=self._train_steps)
        self._on_change()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        described = _describe_last_error(trial)
        self.lost.append(described)
        self._fence.check()
        self._fail(_name(trial), described, "out of memory" if _OUT_OF_MEMORY.search(described) else "failed")

    def _fail(self, name: str, reason: str, kind: FailureKind) -> None:
        reason = filesystem.printable(reason)
        self._print(f"{name}  {kind}: {reason}")
        trial, steps = self._trials[name], 0
        with suppress(MulanError):  # also damaged ones
            steps = max((line["step"] for line in trial.run.metrics()), default=0)
        with suppress(StorageError):  # the next call then runs the trial again
            trial.fail(Failure(kind, steps, reason))
        self._on_change()

    def _print(self, text: str) -> None:
        self._console.print(f"tune  {text}", soft_wrap=True)


def _describe_last_error(trial: Any) -> str:
    # Tune copies the file to the storage later, from where its own function would read it
    path = trial.pickled_error_file
    if path is None or not Path(path).is_file():
        return "its process was lost"
    try:
        error = cloudpickle.loads(Path(path).read_bytes())
    except Exception as unreadable:  # pickled code may raise anything, and one trial must not end the sweep
        return f"its error cannot be read: {unreadable}"
    return describe_error(getattr(error, "cause", None) or error)


def _name(trial: Any) -> str:
    return str(trial.config["trial"]["name"])
