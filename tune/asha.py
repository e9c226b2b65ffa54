"""ASHA (Li et al. 2020): stops a trial whose score is not among the best of those that reached the same step."""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

Scores = list[tuple[int, float]]
"""The (step, score) pairs of a trial's validations."""


class ResumedAsha(ASHAScheduler):  # type: ignore[misc]  # Ray's has no types
    """ASHA that compares trials with all others that reached the same step, in this call or an earlier one."""

    def __init__(
        self,
        *,
        score: str,
        over: Mapping[str, Scores],
        begun: Mapping[str, Scores],
        never_stopped: Collection[str] = (),
        **named: Any,
    ) -> None:
        """
        Args:
            score: The name of the score that trials report together with their ``step``.
            over: The scores of completed trials from earlier calls, by the trial's name.
            begun: The scores of trials that continue, by name (``trial.config["trial"]["name"]``).
            never_stopped: The names of trials that others are compared with, and that are never stopped.
        """
        super().__init__(time_attr="step", **named)
        self._score, self._over, self._begun = score, dict(over), dict(begun)
        self._never_stopped = never_stopped

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        while self._over:
            name, scores = self._over.popitem()
            earlier = SimpleNamespace(trial_id=name)
            super().on_trial_add(tune_controller, earlier)
            self._replay(tune_controller, earlier, scores)
            self.on_trial_remove(tune_controller, earlier)
        super().on_trial_add(tune_controller, trial)
        self._replay(tune_controller, trial, self._begun.pop(trial.config["trial"]["name"], []))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        decision = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if self._is_exempt(trial) else decision

    def _is_exempt(self, trial: Any) -> bool:
        config = getattr(trial, "config", None)
        return config is not None and config["trial"]["name"] in self._never_stopped

    def _replay(self, tune_controller: Any, trial: Any, scores: Scores) -> None:
        for step, score in scores:
            self.on_trial_result(tune_controller, trial, {"step": step, self._score: score})
