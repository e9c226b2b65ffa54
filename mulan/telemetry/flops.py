"""Model FLOPs: the floating-point operations that the forward and backward pass of a model need for a micro-batch.

They are counted by ``torch.utils.flop_counter`` on tensors without data: matrix products, convolutions and attention,
where a multiplication and an addition are two operations. Not counted are elementwise operations, norms, softmax,
Fourier transforms, the loss over the global batch, the optimizer, and waveform augmentation. The backward pass is that
of the trained parameters, so frozen layers have none. Work that the model does not need does not count either: the
repeated forward pass of gradient caching (:mod:`mulan.training.step`), and attention scores that a kernel computes
again in its backward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Batch
from mulan.model.audio_encoder import TrainedModel
from mulan.model.outputs import MaskedPositions
from mulan.model.towers.text_lengths import LengthGroup, length_groups


class NotCounted(MulanError):
    """Raised if the operations of a model cannot be counted, as those of a kernel that has no form without data."""


@dataclass(frozen=True)
class ModelFlops:
    """The model FLOPs of the micro-batches of a recipe, a function of the lengths of their texts.

    Those of a text encoder are a polynomial of degree 2 in the number of tokens, which is interpolated exactly.
    """

    pairs: int
    """The number of pairs in a micro-batch."""
    by_length: Mapping[int, int]
    """FLOPs of a micro-batch whose texts have this length, for three lengths in tokens, and without its masks; for
    length 0 only if the model reads no texts."""
    length_groups: int
    """``text_tower.length_groups`` of the recipe."""
    of_token: int = 0
    """FLOPs to predict one masked token (MuLaP)."""
    of_segment: int = 0
    """FLOPs to predict one masked segment (MuLaP)."""

    def __call__(self, batch: Batch) -> int:
        """Returns the FLOPs of a micro-batch, with the padding with which its texts are encoded."""
        width = batch.token_ids.shape[1]
        if batch.masks is not None:
            tokens = np.count_nonzero(batch.masks.token_targets != NOT_PREDICTED)
            segments = np.count_nonzero(batch.masks.segment_hidden)
            return round(self.of_length(width)) + int(tokens * self.of_token + segments * self.of_segment)
        if not width:
            return round(self.of_length(0))
        if self.length_groups == 1:  # the common case, without the search for the best groups
            return round(self.of_length(int(batch.attention_mask.sum(axis=1).max())))
        groups = length_groups(batch.attention_mask, self.length_groups)
        return round(sum(len(group.rows) * self.of_length(group.max_length) for group in groups) / self.pairs)

    def of_length(self, tokens: int) -> Fraction:
        """Returns the FLOPs of a micro-batch whose texts have this length, by Newton's interpolation."""
        total = Fraction()
        for length, difference in reversed(self._differences):
            total = total * (tokens - length) + difference
        return total

    @cached_property
    def _differences(self) -> list[tuple[int, Fraction]]:
        """The lengths, each with the divided difference of its order."""
        lengths, column = list(self.by_length), [Fraction(flops) for flops in self.by_length.values()]
        found = []
        for order, length in enumerate(lengths):
            found.append((length, column[0]))
            spans = zip(lengths, lengths[order + 1 :], strict=False)
            column = [
                (upper - lower) / (end - start)
                for (lower, upper), (start, end) in zip(pairwise(column), spans, strict=True)
            ]
        return found


def count_flops(model: TrainedModel, recipe: Recipe) -> ModelFlops:
    """Counts the model FLOPs of a recipe's model, without memory for activations and without changing the model.

    Args:
        model: The whole model, before its weights are sharded and before it is compiled.

    Raises:
        NotCounted: An operation of the model cannot be counted.
    """
    trained = [module for module in model.modules() if module.training]
    model.eval()  # without draws for dropout and augmentation
    try:
        return _count(model, recipe)
    except Exception as error:  # of any library that a model is made of
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise NotCounted(f"{type(error).__name__}: {reason}") from error
    finally:
        for module in trained:
            module.training = True


def _count(model: TrainedModel, recipe: Recipe) -> ModelFlops:
    weights, pairs, groups = recipe.loss.weights, recipe.batch.pairs_per_micro_batch, recipe.text_tower.length_groups
    if not weights.uses_text:
        return ModelFlops(pairs, {0: _operations(model, _Inputs(recipe, 0))}, groups)
    longest = recipe.text_tower.max_tokens  # at least 3
    counts = {
        length: _operations(model, _Inputs(recipe, length)) for length in (longest // 3, 2 * longest // 3, longest)
    }
    if not weights.uses_mulap:
        return ModelFlops(pairs, counts, groups)
    of_token, of_segment = (
        _operations(model, one_more) - counts[longest]
        for one_more in (_Inputs(recipe, longest, tokens=_MASKED + 1), _Inputs(recipe, longest, segments=_MASKED + 1))
    )
    of_masks = _MASKED * (of_token + of_segment)
    return ModelFlops(pairs, {n: count - of_masks for n, count in counts.items()}, groups, of_token, of_segment)


_MASKED = 2
"""The number of masked tokens, and of masked segments, of the micro-batches that are counted."""


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a recipe's model for a micro-batch."""

    recipe: Recipe
    length: int
    """The number of tokens of every text; 0 if the model reads none."""
    tokens: int = _MASKED
    """The number of predicted tokens, if any are masked."""
    segments: int = _MASKED
    """The number of masked segments, if any are masked."""

    def tensors(self) -> tuple[Any, ...]:
        """Returns the arguments of the model's ``forward``."""
        recipe, pairs = self.recipe, self.recipe.batch.pairs_per_micro_batch
        waveform = torch.empty(pairs, recipe.views, recipe.data.window_samples, dtype=torch.int16)
        if not self.length:
            return (waveform,)
        token_ids, attention_mask = (torch.empty(pairs, self.length, dtype=torch.int64) for _ in range(2))
        if not recipe.loss.weights.uses_mulap:
            rows = torch.empty(pairs, dtype=torch.int64)
            return waveform, token_ids, attention_mask, (LengthGroup(rows, self.length),)
        indices = (torch.empty(count, dtype=torch.int64) for count in (self.segments, self.tokens))
        hidden = torch.empty(pairs, recipe.segments, dtype=torch.uint8)
        return waveform, token_ids, attention_mask, MaskedPositions(hidden, *indices)


def _operations(model: TrainedModel, inputs: _Inputs) -> int:
    """Returns the operations of a forward and backward pass."""
    with FakeTensorMode() as fake:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        shapes: dict[str, torch.Tensor] = {name: fake.from_tensor(tensor) for name, tensor in tensors}
        # of all kernels of attention, this one is counted on every device, and computes nothing twice
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            outputs = torch.func.functional_call(model, shapes, inputs.tensors())
            given = outputs if isinstance(outputs, tuple) else (outputs,)
            trained = [output.sum() for output in given if output is not None and output.requires_grad]
            torch.stack(trained).sum().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()
