"""Ray Train's trainer, with two decisions of our own: how many workers to take, and when to give up.

Ray Train has no public place for either.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from mulan.config.errors import MulanError


class Trainer(TorchTrainer):
    """Takes only numbers of workers that share the work evenly, and counts failures anew whenever there is progress."""

    def __init__(
        self,
        *arguments: Any,
        worker_counts: list[int],
        steps_saved: Callable[[], int],
        failed: Callable[[str], None],
        **named: Any,
    ) -> None:
        """
        Args:
            worker_counts: numbers of workers that may be used between the bounds of ``scaling_config``.
            steps_saved: the step of the newest checkpoint; called in Ray Train's controller, as is
            failed: told of each failure of the workers, in words.
        """
        super().__init__(*arguments, **named)
        self._worker_counts, self._steps_saved, self._failed = worker_counts, steps_saved, failed

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["failure_policy"] = _FailuresInARow(self.run_config.failure_config, self._steps_saved, self._failed)
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = _EvenShares(self.scaling_config, self._worker_counts)
        return super()._initialize_and_run_controller(**parts)


class _EvenShares(ElasticScalingPolicy):
    """Ray's own takes every number of workers that there is room for."""

    def __init__(self, scaling_config: ScalingConfig, worker_counts: list[int]) -> None:
        super().__init__(scaling_config)
        self._worker_counts = worker_counts

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        return max((count for count in self._worker_counts if count <= room), default=0)


class _FailuresInARow(DefaultFailurePolicy):
    """Ray's own counts the failures of weeks together, and a run on machines that come and go would end by them."""

    def __init__(
        self, failure_config: FailureConfig, steps_saved: Callable[[], int], failed: Callable[[str], None]
    ) -> None:
        super().__init__(failure_config)
        self._steps_saved, self._failed = steps_saved, failed
        self._steps_before = 0

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        with suppress(OSError, MulanError):  # storage that fails must not keep the workers from starting again
            self._failed(in_words(training_failed_error))
            steps = self._steps_saved()
            if steps > self._steps_before:
                self._steps_before, self._worker_group_failures = steps, 0
        return super().make_decision(training_failed_error)


def in_words(error: TrainingFailedError) -> str:
    """What went wrong, a line for each worker that it went wrong on."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", None) or {}
    told = [f"worker {rank}: {_first_line(failure)}" for rank, failure in sorted(failures.items())]
    return "; ".join(told) or _first_line(getattr(error, "controller_failure", error))


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error  # Ray wraps what a worker raised in its own traceback
    return f"{type(cause).__name__}: {str(cause).strip()}".splitlines()[0]
