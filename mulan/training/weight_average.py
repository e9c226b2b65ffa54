"""An exponential moving average of the trained weights (``optim.ema_decay``).

The average starts from the initial weights. After every update of the weights it moves towards them by the share
``1 - ema_decay`` of the difference. Validation and export use it in place of the weights themselves.

Every number is computed by a subtraction, a multiplication and an addition, each a kernel of its own that rounds once:
a fused kernel would round differently where a tensor, or ZeRO's shard of it, does not fill a vector register. So the
average has the same bits on any number of workers and at any ZeRO stage. As the difference is added, not two products
whose factors round to a sum other than 1, constant weights are their own average.
"""

from collections.abc import Mapping

import torch


class WeightAverage:
    """The average of the weights that a worker holds, in one more float32 copy of them.

    At ZeRO stages 0 to 2 these are all trained weights, at stage 3 the worker's shards.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], *, decay: float) -> None:
        """
        Args:
            weights: Initial weights by name, all float32.
            decay: ``optim.ema_decay``, above 0.
        """
        self._share = 1 - decay
        self._in_model = False
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}
        """The average by the names of the weights, while :meth:`exchange` has not put it into the model."""

    @torch.no_grad()
    def update(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Moves the average towards the weights after an update; needs memory for the largest of them."""
        assert not self._in_model
        for name, average in self.tensors.items():
            average.add_(torch.sub(weights[name], average).mul_(self._share))

    @torch.no_grad()
    def exchange(self, weights: Mapping[str, torch.Tensor], *, in_model: bool) -> None:
        """Exchanges the contents of average and weights, bit for bit, unless they are where they should be.

        Args:
            weights: The weights that the model uses; modified in place.
            in_model: True to put the average into the model, False to put the weights back.
        """
        if in_model == self._in_model:
            return
        self._in_model = in_model
        for name, average in self.tensors.items():
            held = average.clone()
            average.copy_(weights[name])
            weights[name].copy_(held)
