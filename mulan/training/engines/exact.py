"""The DeepSpeed engine whose steps are bitwise equal on any number of workers and at any ZeRO stage.

Forward and backward passes are those of the model itself. :mod:`mulan.distributed.gradient_sums` sums the gradient, and
DeepSpeed receives the shard that this worker updates. DeepSpeed's own sums, which are in floating point and divided by
the number of workers, are not used.
"""

import math
from typing import Any

import torch
from deepspeed.utils import set_z3_leaf_module
from torch import nn

from mulan.config.recipe import Recipe
from mulan.distributed.collectives import rank_and_world_size
from mulan.distributed.fixed_point import UNITS
from mulan.distributed.gradient_sums import ReplicatedSums, ShardedSums, clip_grad_norm
from mulan.model.device_batch import DeviceBatch
from mulan.training.engines.deepspeed import DeepSpeedEngine
from mulan.training.optimizer import set_learning_rate


class ExactDeepSpeedEngine(DeepSpeedEngine):
    """A :class:`mulan.training.engines.deepspeed.DeepSpeedEngine` for recipes with ``train.exact_sums``."""

    def __init__(self, model: Any, *sections: Any, **further: Any) -> None:
        """Takes the arguments of :class:`mulan.training.engines.deepspeed.DeepSpeedEngine`."""
        _gather_by_layers(model)
        super().__init__(model, *sections, **further)
        if self._stage > 0:
            optimizer = self._engine.optimizer
            layer_hooks = optimizer._leaf_module_hooks if self._stage == 3 else []
            for hook in (*optimizer._grad_acc_hooks, *layer_hooks):
                hook.remove()  # disables DeepSpeed's own sums
        self._sums = self._new_sums()

    def _new_sums(self) -> list[ReplicatedSums] | list[ShardedSums]:
        parts = self._parts()
        if self._stage < 3:
            shards = [None if self._stage == 0 else part.numel for part in parts]
            return [
                ReplicatedSums(part.parameters, micro_batches=self.micro_batches, shard=shard)
                for part, shard in zip(parts, shards, strict=True)
            ]
        trained: list[Any] = self._trained()  # in the model's order; ZeRO groups them by learning rate and decay
        numels = [parameter.ds_numel for parameter in trained]
        return [ShardedSums(trained, numels, micro_batches=self.micro_batches)]

    def forward(self, batch: DeviceBatch) -> Any:
        return self.module(*batch.inputs)

    def backward(self, scalar: torch.Tensor) -> None:
        (scalar * UNITS).backward()  # type: ignore[no-untyped-call]
        if self._stage == 3:
            self._engine.optimizer.parameter_offload.release_backward_leftovers()
        for sums in self._sums:
            sums.end_micro_batch()

    def step(self) -> float:
        set_learning_rate(self._engine.optimizer.param_groups, self._optim, self._steps_done)
        gradients = self._gradients()
        rank, workers = rank_and_world_size()
        own = [gradient.tensor_split(workers)[rank] for gradient in gradients] if self._stage == 0 else gradients
        nonfinite = torch.stack([sums.nonfinite for sums in self._sums]).any()
        norm = clip_grad_norm(gradients, own, nonfinite, max_norm=self._optim.clipping_norm)
        if math.isfinite(norm):
            self._update_by(gradients)
            assert not getattr(self._engine.optimizer, "overflow", False), "DeepSpeed skipped a finite update"
            self._end_update()
        self._begin_sums()
        self._steps_done += 1
        return norm

    def _gradients(self) -> list[torch.Tensor]:
        """Returns this worker's shard of the summed gradient, one tensor for each of :meth:`_parts`."""
        gradients = [sums.take() for sums in self._sums]
        if self._stage < 3:
            return gradients
        trained: list[Any] = self._trained()
        shards = torch.split(gradients[0], [parameter.ds_tensor.numel() for parameter in trained])
        shard_of = dict(zip(trained, shards, strict=True))
        return [torch.cat([shard_of[parameter] for parameter in part.parameters]) for part in self._parts()]

    def _begin_sums(self) -> None:
        for sums in self._sums:
            sums.begin_step()


def build_engine(model: Any, recipe: Recipe, *, device: torch.device) -> DeepSpeedEngine:
    """Builds the engine of a recipe: with exact sums, or with DeepSpeed's own if ``train.exact_sums`` is false.

    Every worker must pass a model with equal weights. Collective; needs an initialised process group.
    """
    engine_class = ExactDeepSpeedEngine if recipe.train.exact_sums else DeepSpeedEngine
    return engine_class.from_recipe(model, recipe, device=device)


def _gather_by_layers(model: nn.Module) -> None:
    """Makes ZeRO stage 3 gather the weights of whole layers instead of those of each module in them.

    DeepSpeed wraps the inputs of each module that it gathers in an autograd function. Within an attention layer, the
    gradients of queries, keys and values would then be summed before that of the residual connection is added, and
    floating-point sums depend on the order. If a module keeps its layers in several lists (XLM has one of
    attentions and one of feed-forward networks), no list holds whole layers, and the module is gathered as a whole.
    """
    for module in model.modules():
        lists = [child for child in module.children() if isinstance(child, nn.ModuleList)]
        for whole in [module] if len(lists) > 1 else [layer for each in lists for layer in each]:
            set_z3_leaf_module(whole, True)
