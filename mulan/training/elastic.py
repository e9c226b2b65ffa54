"""As many workers as the cluster has room for, and as share the micro-batches evenly."""

from typing import Any

from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy


class ElasticTrainer(TorchTrainer):
    """A trainer that, between the bounds of its ``ScalingConfig``, takes none but given numbers of workers.

    Ray's own takes every number that there is room for; it has no public place for another choice.
    """

    def __init__(self, *arguments: Any, worker_counts: list[int], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._worker_counts = worker_counts

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = _EvenSharesPolicy(self.scaling_config, self._worker_counts)
        return super()._initialize_and_run_controller(**parts)


class _EvenSharesPolicy(ElasticScalingPolicy):
    def __init__(self, scaling_config: ScalingConfig, worker_counts: list[int]) -> None:
        super().__init__(scaling_config)
        self._worker_counts = worker_counts

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        return max((count for count in self._worker_counts if count <= room), default=0)
