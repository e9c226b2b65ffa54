"""Probes of a text encoder, which measure its properties on a few tokens instead of assuming them from its name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mulan.config.sections import Pooling
from mulan.model.towers.pretrained_networks import ATTENTION
from mulan.model.towers.text_layers import layers_of, run_layers
from mulan.model.towers.text_pooling import pool

_MAX_ROUNDING = 1e-4
"""Maximum difference, relative to the largest output, that counts as float32 rounding."""
_MIN_EFFECT = 1e-6
"""Minimum difference, relative to the largest output, that counts as an effect of a changed input."""
_WORDS = 7
"""Number of tokens in the texts of the test whether one position depends on the others."""
_SHORT, _PADDING = 3, 4
"""Numbers of text and padding tokens in the padding test, small enough that convolutions would mix them."""


@dataclass(frozen=True)
class ProbeTokens:
    """Token ids of which probe texts consist."""

    first: int | None
    """Id of the special token at the beginning of every text; None if there is none."""
    words: Sequence[int]
    """Ids of one or more word tokens."""
    padding: int
    """Id of the padding token."""

    def text(self, tokens: int, *, shift: int = 0) -> Tensor:
        """Returns a text, int64 [1, tokens], whose words are rotated by ``shift`` positions."""
        indices = torch.arange(shift, shift + tokens) % len(self.words)
        text = torch.tensor(self.words)[indices]
        if self.first is not None:
            text[0] = self.first
        return text[None]


def accepts_4d_mask(encoder: PreTrainedModel) -> bool:
    """Returns True if a boolean mask [m, 1, 1, L] gives the same outputs as the encoder's own mask from [m, L]."""
    kinds = getattr(encoder.config, "layer_types", None) or ()
    # other implementations would add the booleans to the scores; sliding-window layers build their own mask
    if encoder.config._attn_implementation != ATTENTION or any(kind != "full_attention" for kind in kinds):
        return False
    token_ids, mask = torch.tensor([[2, 3, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    with _probing(encoder):
        try:
            own, direct = (_outputs(encoder, token_ids, m) for m in (mask, mask[:, None, None, :].bool()))
        except Exception:  # networks fail in many ways on inputs that they do not support
            return False
    return _relative_difference(own[:, :3], direct[:, :3]) <= _MAX_ROUNDING


def max_text_length(encoder: PreTrainedModel, tokens: ProbeTokens, limit: int) -> int:
    """Returns the maximum number of tokens, up to ``limit``, that an encoder can process; 0 if it cannot be run."""

    def runs(length: int) -> bool:
        try:
            _run_first_layer(encoder, tokens.text(length))
        except Exception:  # networks fail in many ways on a text that is too long
            return False
        return True

    with _probing(encoder):
        if runs(limit):
            return limit
        runs_at, fails_at = 0, limit
        while fails_at - runs_at > 1:
            middle = (runs_at + fails_at) // 2
            runs_at, fails_at = (middle, fails_at) if runs(middle) else (runs_at, middle)
    return runs_at


def is_finite(encoder: PreTrainedModel, tokens: ProbeTokens) -> bool:
    """Returns True if the encoder's outputs are finite."""
    text = tokens.text(_SHORT)
    with _probing(encoder):
        return bool(_outputs(encoder, text, torch.ones_like(text)).isfinite().all())


def reads_whole_text(encoder: PreTrainedModel, tokens: ProbeTokens, max_length: int, pooling: Pooling) -> bool:
    """Returns True if the pooled output depends on all tokens, with the encoder's mask.

    A mean always does. The output at one position does if it changes with the tokens at the others: those that follow
    the first position, or precede the last one.
    """
    if pooling == "mean":
        return True
    length = min(_WORDS, max_length)
    texts = torch.cat([tokens.text(length), tokens.text(length, shift=1)])
    position = 0 if pooling == "cls" else -1
    texts[1, position] = texts[0, position]
    with _probing(encoder):
        one, other = _outputs(encoder, texts, torch.ones_like(texts))[:, position]
    return _relative_difference(one, other) > _MIN_EFFECT


def ignores_padding(
    encoder: PreTrainedModel, tokens: ProbeTokens, max_length: int, pooling: Pooling, *, use_4d_mask: bool
) -> bool:
    """Returns True if padding after the text does not change the pooled output.

    Args:
        use_4d_mask: Pass a boolean mask [m, 1, 1, L] as in :func:`accepts_4d_mask`.
    """
    text = tokens.text(_SHORT)
    padded = torch.cat([text, torch.full((1, min(_PADDING, max_length - _SHORT)), tokens.padding)], dim=1)
    pooled = []
    with _probing(encoder):
        for token_ids in (text, padded):
            mask = (torch.arange(token_ids.shape[1]) < _SHORT).long()[None]
            outputs = _outputs(encoder, token_ids, mask[:, None, None, :].bool() if use_4d_mask else mask)
            pooled.append(pool(outputs, mask, pooling))
    return _relative_difference(*pooled) <= _MAX_ROUNDING


def layers_run_alone(encoder: PreTrainedModel) -> bool:
    """Returns True if an encoder's layers, run one after another, compute what the whole encoder computes.

    The layers of some encoders share a position bias, and some encoders end with another module.
    """
    stack, token_ids, mask = layers_of(encoder), torch.tensor([[2, 3, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    if not stack or not accepts_4d_mask(encoder):
        return False
    inputs: list[Tensor] = []
    hook = stack[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with _probing(encoder):
        try:
            whole = _outputs(encoder, token_ids, mask[:, None, None, :].bool())
            alone = run_layers(stack, inputs[0], mask)
            return _relative_difference(whole[:, :3], alone[:, :3]) <= _MAX_ROUNDING
        except Exception:  # layers take inputs of many kinds
            return False
        finally:
            hook.remove()


@contextmanager
def _probing(encoder: PreTrainedModel) -> Iterator[None]:
    """Evaluates without gradients, and restores the encoder's mode and torch's random state afterwards."""
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        encoder.train(training)


def _outputs(encoder: PreTrainedModel, token_ids: Tensor, mask: Tensor) -> Tensor:
    output: Tensor = encoder(input_ids=token_ids, attention_mask=mask).last_hidden_state
    return output


class _StopForwardError(Exception):
    """Ends a forward pass after the first layer."""


def _run_first_layer(encoder: PreTrainedModel, token_ids: Tensor) -> None:
    """Runs the encoder up to its first layer, which suffices for position embeddings and is fast in large encoders."""

    def stop(*_: object) -> None:
        raise _StopForwardError

    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    hooks = [stack[0].register_forward_hook(stop) for stack in stacks]
    try:
        _outputs(encoder, token_ids, torch.ones_like(token_ids))
    except _StopForwardError:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _relative_difference(one: Tensor, other: Tensor) -> float:
    """Returns the largest absolute difference relative to the largest absolute value."""
    return float((one - other).abs().max() / one.abs().max())
