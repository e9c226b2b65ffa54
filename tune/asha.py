"""ASHA that knows what earlier calls of the same sweep have found."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler

Scores = list[tuple[int, float]]
"""Steps and scores of a trial's validations."""


class ResumedAsha(ASHAScheduler):  # type: ignore[misc]  # Ray's has no types
    """Trials are compared with all that came to the same step, in this call or in an earlier one."""

    def __init__(self, *, score: str, over: Mapping[str, Scores], begun: Mapping[str, Scores], **named: Any) -> None:
        """
        Args:
            score: what trials report, by that name, together with their ``step``; higher is better.
            over: what earlier calls found of trials that are over, by their names.
            begun: the same of trials that go on; ``trial.config["trial"]["name"]`` is a trial's name.
        """
        super().__init__(time_attr="step", **named)
        self._score, self._over, self._begun = score, dict(over), dict(begun)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        while self._over:
            name, scores = self._over.popitem()
            earlier = SimpleNamespace(trial_id=name)
            super().on_trial_add(tune_controller, earlier)
            self._tell(tune_controller, earlier, scores)
            self.on_trial_remove(tune_controller, earlier)
        super().on_trial_add(tune_controller, trial)
        self._tell(tune_controller, trial, self._begun.pop(trial.config["trial"]["name"], []))

    def _tell(self, tune_controller: Any, trial: Any, scores: Scores) -> None:
        for step, score in scores:
            self.on_trial_result(tune_controller, trial, {"step": step, self._score: score})
