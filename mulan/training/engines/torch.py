"""The engine in plain PyTorch, without sharding: the reference for the DeepSpeed engine."""

import math
from typing import Any, Self

import torch
import torch.distributed as dist

from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, OptimConfig, TrainConfig
from mulan.data.batch import Batch
from mulan.distributed.collectives import rank_and_world_size
from mulan.distributed.fixed_point import UNITS
from mulan.distributed.gradient_sums import ReplicatedSums, clip_grad_norm
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.training.optimizer import adam, set_learning_rate
from mulan.training.weight_average import WeightAverage


class TorchEngine:
    """A model and its Adam optimizer, replicated on every worker; see :class:`mulan.training.engines.base.Engine`.

    With ``train.exact_sums``, its steps are bitwise equal to those of
    :class:`mulan.training.engines.exact.ExactDeepSpeedEngine`, on any number of workers. Otherwise, gradients
    accumulate in floating point on the parameters until the step.
    """

    def __init__(
        self,
        model: Any,
        batch: BatchConfig,
        optim: OptimConfig,
        train: TrainConfig,
        *,
        length_groups: int,
        device: torch.device,
    ) -> None:
        """Moves the model to the device.

        Args:
            model: A model with equal weights on every worker.
            length_groups: ``text_tower.length_groups``, the number of groups of similar length in which the texts of a
                micro-batch are encoded.
        """
        self.module, self.device = model.to(device).train(), device
        self.micro_batches = batch.micro_batches
        self.micro_batches_per_worker = self.micro_batches // rank_and_world_size()[1]
        self._optim, self._length_groups, self._steps_done = optim, length_groups, 0
        self._adam = adam(self.module, optim)
        self._trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self._average = WeightAverage(self._weights(), decay=optim.ema_decay) if optim.ema_decay else None
        self._sums: ReplicatedSums | None = None
        if train.exact_sums:
            self._sums = ReplicatedSums(self._trained, micro_batches=self.micro_batches)

    @classmethod
    def from_recipe(cls, model: Any, recipe: Recipe, *, device: torch.device) -> Self:
        """Builds an engine from the sections of a recipe. Every worker must pass a model with equal weights."""
        length_groups = recipe.text_tower.length_groups
        return cls(model, recipe.batch, recipe.optim, recipe.train, length_groups=length_groups, device=device)

    def to_device(self, batch: Batch) -> DeviceBatch:
        return to_device(batch, self.device, text_groups=self._length_groups)

    def forward(self, batch: DeviceBatch) -> Any:
        return self.module(*batch.inputs)

    def backward(self, scalar: torch.Tensor) -> None:
        if self._sums is None:
            scalar.backward()  # type: ignore[no-untyped-call]
            return
        (scalar * UNITS).backward()  # type: ignore[no-untyped-call]
        self._sums.end_micro_batch()

    def step(self) -> float:
        set_learning_rate(self._adam.param_groups, self._optim, self._steps_done)
        norm = self._plain_gradient() if self._sums is None else self._exact_gradient(self._sums)
        if math.isfinite(norm):
            self._adam.step()
            if self._average is not None:
                self._average.update(self._weights())
        self._adam.zero_grad()
        if self._sums is not None:
            self._sums.begin_step()
        self._steps_done += 1
        return norm

    def _plain_gradient(self) -> float:
        """Sums the gradients over the workers and clips them; returns the norm before clipping. Collective."""
        trained = [parameter for parameter in self._trained if parameter.grad is not None]
        if rank_and_world_size()[1] > 1:
            _sum_over_workers([parameter.grad for parameter in trained])
        return float(torch.nn.utils.clip_grad_norm_(trained, self._optim.clipping_norm))

    def _exact_gradient(self, sums: ReplicatedSums) -> float:
        """Sets the parameters' gradients to the clipped exact sums; returns the norm before clipping. Collective."""
        flat, (rank, workers) = sums.take(), rank_and_world_size()
        own = flat.tensor_split(workers)[rank]
        norm = clip_grad_norm([flat], [own], sums.nonfinite, max_norm=self._optim.clipping_norm)
        parts = torch.split(flat, [parameter.numel() for parameter in self._trained])
        for parameter, part in zip(self._trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return norm

    def evaluation_mode(self, on: bool) -> None:
        self.module.train(not on)
        if self._average is not None:
            self._average.exchange(self._weights(), in_model=on)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad}


def _sum_over_workers(gradients: list[torch.Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
