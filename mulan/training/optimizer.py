"""Adam, its parameter groups, and the learning rate of each."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch

from mulan.config.sections import Optim
from mulan.training.even_adam import EvenAdamW
from mulan.training.learning_rate import learning_rate


class Trainable(Protocol):
    """What the optimizer asks of a model."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def warm_started_parameters(self) -> Iterator[torch.nn.Parameter]: ...


def adam(model: Trainable, optim: Optim) -> EvenAdamW:
    """Returns Adam over the trained parameters, with decoupled weight decay, which at 0 is Adam itself."""
    return EvenAdamW(
        parameter_groups(model, optim), lr=optim.lr, betas=(optim.beta1, optim.beta2), eps=optim.epsilon, fused=True
    )


def parameter_groups(model: Trainable, optim: Optim) -> list[dict[str, Any]]:
    """Trained parameters by learning rate and weight decay.

    Warm-started trunks train at ``pretrained_lr_scale`` of the learning rate. Vectors and single numbers (norms,
    biases, the temperature) do not decay.
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


def set_learning_rate(groups: Iterable[dict[str, Any]], optim: Optim, steps_done: int) -> None:
    """The rate of the step that follows ``steps_done`` steps."""
    for group in groups:
        group["lr"] = learning_rate(optim, steps_done) * group["lr_scale"]
