"""The optimizer: Adam, its parameter groups, and the learning rate schedule."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

import torch
from torch.nn.functional import pad
from torch.optim.adamw import adamw

from mulan.config.sections import OptimConfig


def learning_rate(optim: OptimConfig, steps_done: int) -> float:
    """Returns the learning rate of the step that follows ``steps_done`` steps: linear warm-up and ``optim.schedule``.

    The first step of a warm-up over W steps has the rate ``lr / (W + 1)``, and step W + 1 is the first with ``lr``.

    Example:
        >>> optim = OptimConfig(lr=1.0, warmup_steps=3, decay_factor=0.5, decay_every_steps=6)
        >>> [learning_rate(optim, steps_done) for steps_done in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    warmup = min(1.0, (steps_done + 1) / (optim.warmup_steps + 1))
    return optim.lr * warmup * _decay(optim, steps_done)


def _decay(optim: OptimConfig, steps_done: int) -> float:
    if optim.schedule == "step":
        return optim.decay_factor ** (max(0, steps_done - optim.decay_start_step) // optim.decay_every_steps)
    until, warmup = optim.decay_until_step, optim.warmup_steps
    remaining = max(0.0, min(1.0, (until - steps_done) / (until - warmup)))
    # the square of the sine is half of 1 + cosine, without the cancellation near the end
    return remaining if optim.schedule == "linear" else math.sin(math.pi / 2 * remaining) ** 2


REGISTER = 16
"""Number of float32 values in the widest vector register; threads split tensors at multiples of it."""


class EvenAdamW(torch.optim.AdamW):
    """Fused AdamW that pads the remainders of tensors to whole vector registers on CPUs.

    The arithmetic for a weight is then the same wherever ZeRO splits the tensors.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates the parameters that have a gradient, all of them contiguous and on one device."""
        assert closure is None
        if any(parameter.is_cuda for group in self.param_groups for parameter in group["params"]):
            super().step()
            return
        for group in self.param_groups:
            self._update(group, [parameter for parameter in group["params"] if parameter.grad is not None])

    def _update(self, group: dict[str, Any], parameters: list[torch.nn.Parameter]) -> None:
        pieces: list[tuple[torch.Tensor, ...]] = []
        steps: list[torch.Tensor] = []
        ends: list[tuple[torch.Tensor, torch.Tensor]] = []
        for parameter in parameters:
            state = self.state_of(parameter)
            gradient = cast(torch.Tensor, parameter.grad)
            tensors = [t.view(-1) for t in (parameter, gradient, state["exp_avg"], state["exp_avg_sq"])]
            numel = parameter.numel()
            whole = numel // REGISTER * REGISTER
            if whole:
                pieces.append(tuple(t[:whole] for t in tensors))
                steps.append(state["step"])
            if whole < numel:
                padded = [pad(t[whole:], (0, whole + REGISTER - numel)) for t in tensors]
                pieces.append(tuple(padded))
                steps.append(state["step"].clone() if whole else state["step"])  # incremented once per tensor
                ends += ((t[whole:], f) for t, f in zip(tensors, padded, strict=True) if t is not tensors[1])
        if not pieces:
            return
        weights, gradients, averages, squares = map(list, zip(*pieces, strict=True))
        beta1, beta2 = group["betas"]
        adamw(
            weights,
            gradients,
            averages,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for end, padded_end in ends:
            end.copy_(padded_end[: len(end)])

    def state_of(self, parameter: torch.nn.Parameter) -> dict[str, Any]:
        """Returns the step count and the moments of a parameter, which are created as zeros the first time."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


class Trainable(Protocol):
    """The interface of a model for the optimizer."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def warm_started_parameters(self) -> Iterator[torch.nn.Parameter]: ...


def adam(model: Trainable, optim: OptimConfig) -> EvenAdamW:
    """Returns Adam with decoupled weight decay over the trained parameters; with a decay of 0 it is plain Adam."""
    return EvenAdamW(
        parameter_groups(model, optim), lr=optim.lr, betas=(optim.beta1, optim.beta2), eps=optim.epsilon, fused=True
    )


def parameter_groups(model: Trainable, optim: OptimConfig) -> list[dict[str, Any]]:
    """Returns the trained parameters grouped by learning rate and weight decay.

    Warm-started parameters train at ``pretrained_lr_scale`` times the learning rate. Vectors and scalars (norms,
    biases, the temperature) have no weight decay.
    """
    warm_started = {id(parameter) for parameter in model.warm_started_parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            scale = optim.pretrained_lr_scale if id(parameter) in warm_started else 1.0
            decay = optim.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def set_learning_rate(groups: Iterable[dict[str, Any]], optim: OptimConfig, steps_done: int) -> None:
    """Sets the learning rate of the step that follows ``steps_done`` steps in all groups."""
    for group in groups:
        group["lr"] = learning_rate(optim, steps_done) * group["lr_scale"]
