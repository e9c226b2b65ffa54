"""Adam that updates every number alike, wherever in a tensor it lies: it does not matter where ZeRO cuts the tensors.

PyTorch's fused kernel for CPUs takes the numbers of a tensor by whole vector registers, and those that are left at its
end one by one, which rounds otherwise; PyTorch's other kernels take three to five times as long. Its fused kernel for
GPUs computes every number by the same expressions, and is taken as it is: that its compiler rounds the decay of weights
alike on all its paths is assumed, and not measured.
"""

from typing import Any, cast

import torch
from torch.nn.functional import pad
from torch.optim.adamw import adamw

REGISTER = 16
"""The widest vector register holds so many numbers. Threads, too, share a tensor by multiples of it."""


class EvenAdamW(torch.optim.AdamW):
    """Fused AdamW to which the ends of tensors are given as tensors of their own that fill registers."""

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
            state = self._state_of(parameter)
            gradient = cast(torch.Tensor, parameter.grad)
            tensors = [t.view(-1) for t in (parameter, gradient, state["exp_avg"], state["exp_avg_sq"])]
            numbers = parameter.numel()
            whole = numbers // REGISTER * REGISTER
            if whole:
                pieces.append(tuple(t[:whole] for t in tensors))
                steps.append(state["step"])
            if whole < numbers:
                filled = [pad(t[whole:], (0, whole + REGISTER - numbers)) for t in tensors]
                pieces.append(tuple(filled))
                steps.append(state["step"].clone() if whole else state["step"])  # each is counted up
                ends += ((t[whole:], f) for t, f in zip(tensors, filled, strict=True) if t is not tensors[1])
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
        for end, filled_end in ends:
            end.copy_(filled_end[: len(end)])

    def _state_of(self, parameter: torch.nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
