"""The DeepSpeed engine. DeepSpeed is used in ``mulan.training.engines`` only.

For bf16 the model uses autocast, so weights, gradients and optimizer states are float32 at every ZeRO stage, and
checkpoints do not depend on the stage.
"""

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import deepspeed
import deepspeed.ops
import torch
import torch.distributed as dist
from deepspeed.utils import logger as deepspeed_logger
from deepspeed.utils import safe_get_local_optimizer_state

from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, OptimConfig, TrainConfig
from mulan.data.batch import Batch
from mulan.distributed.collectives import all_reduce_sum, rank_and_world_size
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.training.optimizer import adam, set_learning_rate
from mulan.training.state import SavedState
from mulan.training.tensor_slices import TensorSlice, share_of
from mulan.training.weight_average import WeightAverage

# DeepSpeed would compile this op on CPUs, although only inference uses it. A process that is killed during the
# compilation leaves a lock, for which all later processes wait forever.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of Adam's two moments in torch and DeepSpeed."""


class DeepSpeedEngine:
    """A model and its Adam optimizer, sharded by ZeRO; see :class:`mulan.training.engines.base.Engine`."""

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
        """Initialises DeepSpeed. Collective; needs an initialised process group.

        Args:
            model: A model with equal weights on every worker.
            length_groups: ``text_tower.length_groups``, the number of groups of similar length in which the texts of a
                micro-batch are encoded.
        """
        deepspeed_logger.setLevel(logging.ERROR)
        self._optim, self._stage, self._length_groups, self.device = optim, train.zero_stage, length_groups, device
        self._workers = dist.get_world_size()
        self.micro_batches = batch.micro_batches
        self.micro_batches_per_worker = self.micro_batches // self._workers
        self._steps_done = 0
        self._adam = adam(model, optim)
        self._engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=self._adam,
            config=deepspeed_config(batch, optim, train, workers=self._workers),
            dist_init_required=False,
        )
        self._engine.train()
        for updated in self._updated_tensors():  # Adam would create its moments in the first update
            self._adam.state_of(updated)
        self._average = WeightAverage(self._own_weights(), decay=optim.ema_decay) if optim.ema_decay else None

    @classmethod
    def from_recipe(cls, model: Any, recipe: Recipe, *, device: torch.device) -> Self:
        """Builds an engine from the sections of a recipe. Every worker must pass a model with equal weights."""
        length_groups = recipe.text_tower.length_groups
        return cls(model, recipe.batch, recipe.optim, recipe.train, length_groups=length_groups, device=device)

    @property
    def module(self) -> torch.nn.Module:
        module: torch.nn.Module = self._engine.module
        return module

    def to_device(self, batch: Batch) -> DeviceBatch:
        return to_device(batch, self.device, text_groups=self._length_groups)

    def forward(self, batch: DeviceBatch) -> Any:
        return self._engine(*batch.inputs)

    def backward(self, scalar: torch.Tensor) -> None:
        self._engine.backward(scalar * self._workers, scale_wrt_gas=False)  # ZeRO averages over the workers
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()  # only counts the micro-batch

    def step(self) -> float:
        set_learning_rate(self._engine.optimizer.param_groups, self._optim, self._steps_done)
        norm = self._plain_gradient_norm() if self._stage == 0 else None
        if norm is None or math.isfinite(norm):
            self._engine.step()  # ZeRO checks the norm itself before it updates
        else:
            self._skip_update()
        self._steps_done += 1
        norm = norm if norm is not None else float(self._engine.get_global_grad_norm())
        updated = self._engine.was_step_applied()
        assert updated == math.isfinite(norm), f"updated by a gradient of norm {norm}"
        if updated:
            self._end_update()
        return norm

    def evaluation_mode(self, on: bool) -> None:
        self._engine.train(not on)
        if self._average is None:
            return
        if self._stage == 3:
            self._engine.optimizer.checkpoint_event_prologue()  # releases gathered weights, which would be outdated
        self._average.exchange(self._own_weights(), in_model=on)
        if self._stage == 3:
            self._engine.optimizer.checkpoint_event_epilogue()  # gathers the small tensors that are never released

    def own_state(self) -> list[TensorSlice]:
        held = list(self._held())
        shared = share_of((one for one, is_shared in held if is_shared), *rank_and_world_size())
        return [*(one for one, is_shared in held if not is_shared), *shared]

    def restore_optimizer(self, state: SavedState, steps_done: int, *, updates: int) -> None:
        for one, _ in self._held():
            if not one.name.startswith("weights."):
                state.read_into(one.name, one.values, start=one.start)
        for of_tensor in self._adam.state.values():
            of_tensor["step"].fill_(float(updates))
        self._steps_done = steps_done

    def _skip_update(self) -> None:
        """Performs a step of stage 0 without the update, in which DeepSpeed only counts the micro-batch."""
        self.module.zero_grad()
        self._engine.set_gradient_accumulation_boundary(False)
        self._engine.step()
        self._engine.set_gradient_accumulation_boundary(None)  # again determined by the count

    def _plain_gradient_norm(self) -> float:
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        # every worker has the whole gradient; after averaging, all agree on whether the norm is finite
        return float(all_reduce_sum(torch.nn.utils.get_total_norm(gradients)) / self._workers)

    def _held(self) -> Iterator[tuple[TensorSlice, bool]]:
        """Yields what this worker holds of the tensors of a checkpoint, and whether all workers hold the same."""
        persistent = self.module.state_dict().keys()
        for name, buffer in self.module.named_buffers():
            if name in persistent:
                yield TensorSlice.whole(f"weights.{name}", buffer), True
        parameters: Iterator[tuple[str, Any]] = self.module.named_parameters()
        for name, parameter in parameters:
            held = parameter.ds_tensor if self._stage == 3 else parameter
            yield from self._replica_or_shard(f"weights.{name}", parameter, held)
            if not parameter.requires_grad:
                continue
            for moment in MOMENTS:
                yield from self._held_moment(name, parameter, moment)
            if self._average is not None:
                yield from self._replica_or_shard(f"ema.{name}", parameter, self._average.tensors[name])

    def _replica_or_shard(self, name: str, parameter: Any, held: torch.Tensor) -> Iterator[tuple[TensorSlice, bool]]:
        """Yields a tensor of the shape of a parameter, of which each worker has a shard at stage 3.

        A shard is one of W rows of ceil(n / W) elements, the last ones padded.
        """
        if self._stage < 3:
            yield TensorSlice.whole(name, held), True
            return
        start = held.numel() * dist.get_rank()
        numel = min(held.numel(), parameter.ds_numel - start)
        if numel > 0:
            yield TensorSlice(name, tuple(parameter.ds_shape), start, held.detach().view(-1)[:numel]), False

    def _held_moment(self, name: str, parameter: Any, moment: str) -> Iterator[tuple[TensorSlice, bool]]:
        if self._stage == 0:
            yield TensorSlice.whole(f"{moment}.{name}", self._adam.state[parameter][moment]), True
        elif self._stage == 3:
            shard = safe_get_local_optimizer_state(parameter, moment)  # in the optimizer's memory
            yield from self._replica_or_shard(f"{moment}.{name}", parameter, shard)
        elif (mapping := parameter._hp_mapping) is not None:  # the part of the parameter that this worker updates
            flat = self._adam.state[self._updated_tensors()[mapping.param_group_index]][moment]
            within, address = mapping.lp_fragment_address, mapping.hp_fragment_address
            values = flat[address.start : address.start + address.numel]
            yield TensorSlice(f"{moment}.{name}", tuple(parameter.shape), within.start, values), False

    def _updated_tensors(self) -> list[torch.nn.Parameter]:
        """Returns the tensors that Adam updates on this worker; with ZeRO, a flat one for each of :meth:`_parts`."""
        if self._stage == 0:
            return self._trained()
        optimizer = self._engine.optimizer
        updated: list[torch.nn.Parameter] = (
            optimizer.fp32_partitioned_groups_flat if self._stage == 3 else optimizer.single_partition_of_fp32_groups
        )
        return updated

    def _parts(self) -> list["_Part"]:
        """Returns the parameters that this worker updates, grouped as ZeRO flattens them."""
        optimizer = self._engine.optimizer
        if self._stage == 0:
            return [_Part(parameters := self._trained(), sum(parameter.numel() for parameter in parameters))]
        if self._stage == 3:
            return [_Part(group, sum(p.ds_tensor.numel() for p in group)) for group in optimizer.fp16_groups]
        groups = zip(optimizer.round_robin_bit16_groups, optimizer.partition_size, strict=True)
        return [_Part(group, int(size)) for group, size in groups]

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for _, parameter in self._named_trained()]

    def _named_trained(self) -> Iterator[tuple[str, Any]]:
        return ((name, parameter) for name, parameter in self.module.named_parameters() if parameter.requires_grad)

    def _own_weights(self) -> dict[str, torch.Tensor]:
        """Returns the trained weights that this worker holds, in the model's memory: all or, at stage 3, its shards."""
        return {name: p.ds_tensor if self._stage == 3 else p.detach() for name, p in self._named_trained()}

    def _end_update(self) -> None:
        if self._average is not None:
            self._average.update(self._own_weights())

    def _update_by(self, gradients: list[torch.Tensor]) -> None:
        """Updates the weights with a summed gradient, one flat tensor for each of :meth:`_parts`. Collective."""
        optimizer = self._engine.optimizer
        if self._stage == 0:
            (flat,), offset = gradients, 0
            for parameter in self._trained():
                parameter.grad = flat[offset : offset + parameter.numel()].view(parameter.shape)
                offset += parameter.numel()
        else:
            optimizer.averaged_gradients = {number: [gradient] for number, gradient in enumerate(gradients)}
        optimizer.step()
        for parameter in self._trained():
            parameter.grad = None


class _Part(NamedTuple):
    """A group of parameters that ZeRO flattens together."""

    parameters: list[Any]
    numel: int
    """The number of elements in this worker's shard, including padding."""


def deepspeed_config(batch: BatchConfig, optim: OptimConfig, train: TrainConfig, *, workers: int) -> dict[str, Any]:
    """Returns DeepSpeed's configuration for a run."""
    return {
        "train_batch_size": batch.pairs,
        "train_micro_batch_size_per_gpu": batch.pairs_per_micro_batch,
        "gradient_accumulation_steps": batch.micro_batches // workers,
        "gradient_clipping": 0.0 if train.exact_sums else optim.max_grad_norm,  # 0 switches it off
        # at stage 3, DeepSpeed's own linear layer sums its gradient in a different order from torch's
        "zero_optimization": {"stage": train.zero_stage, "memory_efficient_linear": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }
