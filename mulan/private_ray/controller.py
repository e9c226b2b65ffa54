"""A trainer of Ray Train whose controller is given decisions from outside: there is no public place for them."""

import os
from collections.abc import Callable
from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR

from mulan.private_ray.decisions import Verdict, WorkerCounts
from mulan.private_ray.failures import Failures
from mulan.private_ray.scaling import ElasticWorkers


class DecidedTrainer(TorchTrainer):
    """Trains on the workers that :class:`WorkerCounts` takes, until a verdict gives up; it hands out no datasets."""

    def __init__(
        self,
        *arguments: Any,
        counts: WorkerCounts,
        verdict: Callable[[Exception], Verdict],
        **named: Any,
    ) -> None:
        """
        Args:
            counts: asked only where ``scaling_config`` leaves a choice. It is pickled, as ``verdict`` is, and called in
                Ray Train's controller.
            verdict: told of each failure (``ray.train.TrainingFailedError``).
        """
        super().__init__(*arguments, **named)
        self._counts, self._verdict = counts, verdict

    def _create_default_callbacks(self) -> list[Any]:
        # each of these starts a process: to hand out datasets, and to give back what a controller that was killed had
        # reserved, which works only beside a dashboard and a single Ray; see mulan.private_ray.placement_groups
        needless = DatasetsCallback, PlacementGroupCleanerCallback
        return [one for one in super()._create_default_callbacks() if not isinstance(one, needless)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["failure_policy"] = Failures(self.run_config.failure_config, self._verdict)
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = ElasticWorkers(self.scaling_config, self._counts)
        return super()._initialize_and_run_controller(**parts)


def wait_for_answers(seconds: float) -> None:
    """Sets how long a worker that does not answer is waited for, in controllers started from this process.

    The controller takes it from the environment alone.
    """
    os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] = str(seconds)
