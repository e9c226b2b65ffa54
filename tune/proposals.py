"""The trials that Ray Tune asks for, one after another; Optuna chooses the point of each one when it begins."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from tune.points import Point
from tune.trial import Trial

ChoosePoint = Callable[[Trial], Point]
"""Chooses the point of a trial that has none, from the outcomes of the others."""


class Proposals(Searcher):  # type: ignore[misc]  # Ray's has no types
    """Proposes the remaining trials of a sweep in their order.

    Tune's own record of them is not used: the state of a sweep is that of its trials.
    """

    def __init__(self, trials: Sequence[Trial], choose_point: ChoosePoint) -> None:
        """
        Args:
            trials: The remaining trials.
            choose_point: Called for a trial without a point.
        """
        super().__init__()
        self._left, self._choose_point = list(trials), choose_point

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores it, see the class

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if not self._left:
            return str(Searcher.FINISHED)
        trial = self._left.pop(0)
        is_known = trial.point is not None
        begun = trial.begin(self._choose_point(trial) if trial.point is None else trial.point, is_known=is_known)
        return {"trial": {"name": begun.run.name, "settings": begun.settings}}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing is to be learnt: points are chosen from the trials' files."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is saved; see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is restored; see the class."""
