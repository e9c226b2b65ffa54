"""What happens while trials run: what is told of it, what is written down, and which of them are tried again."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ray.tune import Callback

from mulan.config.recipe import Recipe
from mulan.data.storage_errors import StorageError
from mulan.training.headline import headline
from mulan.training.lease import Fence
from tune.planned import Trial
from tune.space import settings
from tune.trial import FAULT, metric


class Watch(Callback):
    """A line for every validation of every trial; it writes down which trials are over, and counts how often in a row
    the process of one was lost."""

    def __init__(self, recipe: Recipe, trials: Sequence[Trial], fence: Fence) -> None:
        """``fence``: of the sweep, which another driver may have taken over."""
        self._score, self._heading, self._losses = metric(recipe), headline(recipe)[1], recipe.scale.max_failures
        self._fence = fence
        self._trials = {one.run.name: one for one in trials}
        self._steps: dict[str, int] = {}
        self.faults: list[str] = []
        """What went wrong in trials that another attempt would not mend."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name, step = trial.config["trial"]["name"], result.get("step", 0)
        if FAULT in result or self._score not in result:
            return
        values = "  ".join(settings(trial.config["trial"]["values"]))
        print(f"tune  {name}  step {step}  {self._heading} {result[self._score]:.3f}  {values}", flush=True)
        # Tune counts the losses of a trial from its beginning; here only those since its last progress count
        if self._losses is not None and step > self._steps.get(name, 0):
            self._steps[name] = step
            trial.max_failures = trial.num_failures + self._losses

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(
            f"tune  {trial.config['trial']['name']}  failed, or its process was lost; it goes on in another one",
            flush=True,
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, last = trial.config["trial"]["name"], trial.last_result or {}
        self._fence.check()
        if FAULT in last:
            print(f"tune  {name}  failed: {last[FAULT]}", flush=True)
            self.faults.append(last[FAULT])
            return
        with suppress(StorageError):  # then the next call takes it up once more
            self._trials[name].end(last.get("step", 0))
