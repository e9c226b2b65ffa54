"""The engine in plain PyTorch: no sharding, nothing to install. The twin that the DeepSpeed engine is held against."""

import math
from typing import Any

import torch
import torch.distributed as dist

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.objectives.collectives import world
from mulan.training.optimizer import adam, set_learning_rate
from mulan.training.transfer import DeviceBatch, to_device


class TorchEngine:
    """A model under Adam, whole on every worker; see :class:`mulan.training.engine.Engine`."""

    def __init__(self, model: Any, recipe: Recipe, *, device: torch.device) -> None:
        """Every worker must pass a model with equal weights."""
        self.module, self.device = model.to(device).train(), device
        self.micro_batches = recipe.batch.micro_batches
        self.share = self.micro_batches // world()[1]
        self._recipe, self._steps_done = recipe, 0
        self._adam = adam(self.module, recipe.optim)

    def to_device(self, batch: Batch) -> DeviceBatch:
        return to_device(batch, self.device, text_groups=self._recipe.text_tower.length_groups)

    def forward(self, batch: DeviceBatch) -> Any:
        return self.module(*batch.inputs)

    def backward(self, scalar: torch.Tensor) -> None:
        scalar.backward()  # type: ignore[no-untyped-call]

    def step(self) -> float:
        trained = [p for p in self.module.parameters() if p.grad is not None]
        if world()[1] > 1:
            _sum_over_workers([p.grad for p in trained])
        optim = self._recipe.optim
        set_learning_rate(self._adam.param_groups, optim, self._steps_done)
        norm = torch.nn.utils.clip_grad_norm_(trained, optim.max_gradient_norm)
        if math.isfinite(norm):
            self._adam.step()
        self._adam.zero_grad()
        self._steps_done += 1
        return float(norm)

    def evaluation_mode(self, on: bool) -> None:
        self.module.train(not on)


def _sum_over_workers(gradients: list[torch.Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
