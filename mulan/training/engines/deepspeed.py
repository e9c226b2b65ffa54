"""The DeepSpeed engine. DeepSpeed is used in ``mulan.training.engines`` only.

For bf16 the model uses autocast, so weights, gradients and optimizer states are float32 at every ZeRO stage, and
checkpoints do not depend on the stage.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import deepspeed
import deepspeed.ops
import torch
import torch.distributed as dist
from deepspeed.utils import logger as deepspeed_logger
from deepspeed.utils import (
    safe_get_full_optimizer_state,
    safe_set_full_optimizer_state,
    safe_set_local_optimizer_state,
)

from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, OptimConfig, TrainConfig
from mulan.data.batch import Batch
from mulan.distributed.collectives import all_gather, all_reduce_sum
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.training.optimizer import adam, set_learning_rate
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
        self._steps_done, self._has_moments = 0, False
        self._engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=adam(model, optim),
            config=deepspeed_config(batch, optim, train, workers=self._workers),
            dist_init_required=False,
        )
        self._engine.train()
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

    def state(self, *, kept: bool = True) -> dict[str, torch.Tensor]:
        whole = self._whole_tensors()
        if kept:
            return {name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, t in whole}
        for _ in whole:  # takes part in the collective gather
            pass
        return {}

    def restore_optimizer(self, state: Mapping[str, torch.Tensor], steps_done: int, *, updates: int) -> None:
        self._create_optimizer_state()
        self._link_moments()
        for name, parameter in self._named_trained():
            for moment in MOMENTS:
                self._set_moment(parameter, moment, state[f"{moment}.{name}"])
            if self._average is not None:
                whole = state[f"ema.{name}"]
                own = self._own_shard(parameter, whole) if self._stage == 3 else whole
                self._average.tensors[name].copy_(own)
        self._set_adam_steps(updates)
        self._steps_done, self._has_moments = steps_done, True

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

    def _whole_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields the tensors of a checkpoint, and gathers them one at a time to save memory. Collective."""
        self._link_moments()
        persistent = self.module.state_dict().keys()
        for name, buffer in self.module.named_buffers():
            if name in persistent:
                yield f"weights.{name}", buffer
        for name, parameter in self.module.named_parameters():
            weight = self._full_weight(parameter)
            yield f"weights.{name}", weight
            for moment in MOMENTS if parameter.requires_grad else ():
                full = self._full_moment(parameter, moment)
                yield f"{moment}.{name}", torch.zeros_like(weight) if full is None else full
            if self._average is not None and parameter.requires_grad:
                yield f"ema.{name}", self._whole(parameter, self._average.tensors[name])

    def _full_weight(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        if self._stage < 3:  # DeepSpeed's master weights are the same: everything is float32
            return parameter
        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()

    def _full_moment(self, parameter: torch.nn.Parameter, moment: str) -> torch.Tensor | None:
        full: torch.Tensor | None
        if not self._has_moments:  # Adam creates them in its first update
            return None
        if self._stage == 0:
            full = self._engine.optimizer.state[parameter].get(moment)
        else:
            full = safe_get_full_optimizer_state(parameter, moment)
        return full

    def _set_moment(self, parameter: torch.nn.Parameter, moment: str, value: torch.Tensor) -> None:
        if self._stage == 0:
            self._engine.optimizer.state[parameter][moment].copy_(value)
        elif self._stage == 3:
            safe_set_local_optimizer_state(parameter, self._own_shard(parameter, value), moment)
        else:
            safe_set_full_optimizer_state(parameter, value, moment)

    def _whole(self, parameter: Any, own: torch.Tensor) -> torch.Tensor:
        """Returns a whole tensor from what each worker holds of it: at stage 3 its shard, the inverse of _own_shard."""
        return all_gather(own)[: parameter.ds_numel].view(parameter.ds_shape) if self._stage == 3 else own

    def _own_shard(self, parameter: Any, value: torch.Tensor) -> torch.Tensor:
        """Returns this worker's shard of a tensor at stage 3, padded as by ZeRO.

        DeepSpeed's own setters of full tensors do not pad, and fail for the temperature, which is a scalar.
        """
        size = parameter.ds_tensor.numel()
        padded = torch.nn.functional.pad(value.flatten(), (0, size * self._workers - value.numel()))
        return padded[size * dist.get_rank() :][:size].to(self.device)

    def _create_optimizer_state(self) -> None:
        """Updates once with a zero gradient at learning rate 0, since ZeRO creates the moments in its first update."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = 0.0
        self._update_by([torch.zeros(part.numel, device=self.device) for part in self._parts()])

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
        self._has_moments = True
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

    def _link_moments(self) -> None:
        """Makes DeepSpeed link the moments of every parameter again.

        At stages 1 and 2 it links them only once, after the first step of the *first* parameter group, when the other
        groups do not have moments yet.
        """
        if self._stage in (1, 2):
            self._engine.optimizer._hp_optimizer_states_linked = False
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _set_adam_steps(self, updates: int) -> None:
        optimizer = self._engine.optimizer
        for state in getattr(optimizer, "optimizer", optimizer).state.values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"].fill_(float(updates))
            elif "step" in state:
                state["step"] = updates


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
