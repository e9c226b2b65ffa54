"""The engine: DeepSpeed, and nothing else of it anywhere.

Compute in bf16 is the model's own autocast, so weights, gradients and optimizer states are float32 at every ZeRO
stage, and a checkpoint is the same whichever stage wrote it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import logger as deepspeed_logger
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from mulan.config.sections import Batch as BatchSection
from mulan.config.sections import Optim
from mulan.data.batch import Batch
from mulan.model.joint import Embeddings, JointModel
from mulan.training.learning_rate import learning_rate

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's two moments, by their names in torch and DeepSpeed."""


class Engine:
    """A joint model under Adam, sharded over the workers by ZeRO."""

    def __init__(
        self,
        model: JointModel,
        *,
        optim: Optim,
        batch: BatchSection,
        zero_stage: int,
        workers: int,
        device: torch.device,
    ) -> None:
        """Every worker must pass a model with equal weights. Collective."""
        deepspeed_logger.setLevel(logging.ERROR)
        self._optim, self._workers, self._stage, self.device = optim, workers, zero_stage, device
        self.micro_batches = batch.micro_batches
        self._steps_done = 0
        adam = torch.optim.AdamW(  # equals Adam at weight decay 0
            _parameter_groups(model, optim),
            lr=optim.lr,
            betas=(optim.beta1, optim.beta2),
            eps=optim.epsilon,
            weight_decay=optim.weight_decay,
            fused=True,
        )
        self._engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=adam,
            config=deepspeed_config(optim=optim, batch=batch, zero_stage=zero_stage, workers=workers),
            dist_init_required=False,
        )
        self._engine.train()

    @property
    def module(self) -> JointModel:
        module: JointModel = self._engine.module
        return module

    def forward(self, batch: Batch) -> Embeddings:
        waveform, token_ids, attention_mask = (
            torch.tensor(array, device=self.device) for array in (batch.waveform, batch.token_ids, batch.attention_mask)
        )
        embeddings: Embeddings = self._engine(waveform, token_ids, attention_mask)
        return embeddings

    def backward(self, scalar: torch.Tensor) -> None:
        """Adds the gradient of a scalar; the *sum* over workers and calls is what :meth:`step` takes."""
        self._engine.backward(scalar * self._workers, scale_wrt_gas=False)  # ZeRO averages over the workers
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()  # only counts the micro-batch

    def step(self) -> float:
        """Clips, updates, and forgets the gradient. Returns its norm before clipping."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate(self._optim, self._steps_done) * group["lr_scale"]
        norm = self._plain_gradient_norm() if self._stage == 0 else None
        self._engine.step()
        self._steps_done += 1
        return float(norm if norm is not None else self._engine.get_global_grad_norm())

    def evaluation_mode(self, on: bool) -> None:
        self._engine.train(not on)

    def state(self) -> dict[str, torch.Tensor]:
        """Weights, buffers (``weights.NAME``) and Adam's moments (``exp_avg.NAME``), whole, on the CPU. Collective."""
        self._link_moments()
        persistent = self.module.state_dict().keys()
        buffers = {name: buffer for name, buffer in self.module.named_buffers() if name in persistent}
        state = {f"weights.{name}": buffer.detach().cpu() for name, buffer in buffers.items()}
        for name, parameter in self.module.named_parameters():
            weight = state[f"weights.{name}"] = self._full_weight(parameter)
            for moment in MOMENTS if parameter.requires_grad else ():
                full = self._full_moment(parameter, moment)
                state[f"{moment}.{name}"] = torch.zeros_like(weight) if full is None else full.detach().float().cpu()
        return {name: tensor.contiguous().clone() for name, tensor in state.items()}

    def restore_optimizer(self, state: Mapping[str, torch.Tensor], steps_done: int, *, window_samples: int) -> None:
        """Continues from :meth:`state`; its weights must have been loaded into the model before. Collective."""
        self._create_optimizer_state(window_samples)
        self._link_moments()
        trained = ((name, p) for name, p in self.module.named_parameters() if p.requires_grad)
        for name, parameter in trained:
            for moment in MOMENTS:
                self._set_moment(parameter, moment, state[f"{moment}.{name}"])
            if self._stage > 0:  # the step that created the state has left rounding in the master weights
                self._set_weight(parameter, state[f"weights.{name}"])
        self._set_adam_steps(steps_done)
        self._steps_done = steps_done

    def _plain_gradient_norm(self) -> torch.Tensor:
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _full_weight(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        if self._stage > 0 and parameter.requires_grad:
            master = safe_get_full_fp32_param(parameter)
            assert master is not None
            return master.detach().cpu()
        with deepspeed.zero.GatheredParameters([parameter], enabled=self._stage == 3):
            return parameter.detach().clone().cpu()

    def _full_moment(self, parameter: torch.nn.Parameter, moment: str) -> torch.Tensor | None:
        full: torch.Tensor | None
        if self._stage == 0:
            full = self._engine.optimizer.state[parameter].get(moment)
        else:
            full = safe_get_full_optimizer_state(parameter, moment)
        return full

    def _set_moment(self, parameter: torch.nn.Parameter, moment: str, value: torch.Tensor) -> None:
        if self._stage == 0:
            self._engine.optimizer.state[parameter][moment].copy_(value)
        elif self._stage == 3:
            safe_set_local_optimizer_state(parameter, self._own_part(parameter, value), moment)
        else:
            safe_set_full_optimizer_state(parameter, value, moment)

    def _set_weight(self, parameter: torch.nn.Parameter, value: torch.Tensor) -> None:
        if self._stage == 3:
            safe_set_local_fp32_param(parameter, self._own_part(parameter, value))
        else:
            safe_set_full_fp32_param(parameter, value)

    def _own_part(self, parameter: Any, value: torch.Tensor) -> torch.Tensor:
        """This worker's slice of a whole tensor at stage 3, padded as ZeRO pads it.

        DeepSpeed's own setters of whole tensors do not pad: they fail on the temperature, which is one number.
        """
        size = parameter.ds_tensor.numel()
        padded = torch.nn.functional.pad(value.flatten(), (0, size * self._workers - value.numel()))
        return padded[size * dist.get_rank() :][:size].to(self.device)

    def _create_optimizer_state(self, window_samples: int) -> None:
        """One step with a zero gradient at learning rate 0: ZeRO makes the moments at the first step."""
        silence = torch.zeros(2, 1, window_samples, dtype=torch.int16, device=self.device)
        tokens = torch.ones(2, 1, dtype=torch.int64, device=self.device)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = 0.0
        self.evaluation_mode(True)  # leaves the batch-norm statistics alone
        for _ in range(self.micro_batches // self._workers):
            embeddings = self._engine(silence, tokens, tokens)
            self._engine.backward(sum(tensor.sum() for tensor in embeddings) * 0.0)
            self._engine.step()
        self.evaluation_mode(False)

    def _link_moments(self) -> None:
        """Tells DeepSpeed anew where the moments of every parameter are.

        At stages 1 and 2 it does so once, after the first step of the *first* parameter group, when the others have
        none yet.
        """
        if self._stage in (1, 2):
            self._engine.optimizer._hp_optimizer_states_linked = False
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _set_adam_steps(self, steps_done: int) -> None:
        optimizer = self._engine.optimizer
        for state in getattr(optimizer, "optimizer", optimizer).state.values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"].fill_(float(steps_done))
            elif "step" in state:
                state["step"] = steps_done


def _parameter_groups(model: JointModel, optim: Optim) -> list[dict[str, Any]]:
    """Pretrained weights and fresh ones, each with the multiple of the learning rate that it trains at."""
    pretrained = {id(parameter) for parameter in model.text_tower.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) in pretrained], "lr_scale": optim.pretrained_lr_scale},
        {"params": [p for p in trained if id(p) not in pretrained], "lr_scale": 1.0},
    ]
    return [group for group in groups if group["params"]]


def deepspeed_config(*, optim: Optim, batch: BatchSection, zero_stage: int, workers: int) -> dict[str, Any]:
    """DeepSpeed's own configuration of a run."""
    return {
        "train_batch_size": batch.pairs,
        "train_micro_batch_size_per_gpu": batch.pairs_per_micro_batch,
        "gradient_accumulation_steps": batch.micro_batches // workers,
        "gradient_clipping": optim.max_gradient_norm,
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }
