"""What a text encoder does, found out by running it on a few tokens: it is asked, and not assumed from its name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mulan.model.towers.pretrained_networks import ATTENTION

_SAME = 1e-4
"""Of the largest output: what is further apart differs by more than float32 rounds."""
_MIN_SEEN = 1e-6
"""Of the largest output: what differs by less does not depend on what was changed."""
_WORDS = 7
_SHORT, _PADDING = 3, 4
"""Tokens of a text that is padded, and how many are put behind it: convolutions reach from one into the other."""


@dataclass(frozen=True)
class ProbeTokens:
    """What texts for a probe are made of: ids of a tokenizer."""

    first: int
    """What stands before every text."""
    words: Sequence[int]
    """At least one."""
    padding: int

    def text(self, tokens: int, *, turn: int = 0) -> Tensor:
        """int64 [1, tokens]; the words of one turn follow those of another at any place but the first."""
        places = torch.arange(turn, turn + tokens) % len(self.words)
        text = torch.tensor(self.words)[places]
        text[0] = self.first
        return text[None]


def takes_ready_mask(encoder: PreTrainedModel) -> bool:
    """Whether an encoder computes the same with a mask [m, 1, 1, L] of booleans as with its own from [m, L]."""
    kinds = getattr(encoder.config, "layer_types", None) or ()
    # other implementations would add the booleans to the scores; layers with a window make a mask of their own
    if encoder.config._attn_implementation != ATTENTION or any(kind != "full_attention" for kind in kinds):
        return False
    token_ids, mask = torch.tensor([[2, 3, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    with _only_asked(encoder):
        try:
            own, ready = (_outputs(encoder, token_ids, asked) for asked in (mask, mask[:, None, None, :].bool()))
        except Exception:  # what a network does not know it meets in many ways
            return False
    return _apart(own[:, :3], ready[:, :3]) <= _SAME


def longest_text(encoder: PreTrainedModel, tokens: ProbeTokens, most: int) -> int:
    """The most tokens, up to ``most``, that an encoder has positions for; 0 where it cannot be run at all."""

    def runs(length: int) -> bool:
        try:
            _run_first_layer(encoder, tokens.text(length))
        except Exception:  # networks end a text that is too long in many ways
            return False
        return True

    with _only_asked(encoder):
        if runs(most):
            return most
        runs_at, fails_at = 0, most
        while fails_at - runs_at > 1:
            middle = (runs_at + fails_at) // 2
            runs_at, fails_at = (middle, fails_at) if runs(middle) else (runs_at, middle)
    return runs_at


def is_finite(encoder: PreTrainedModel, tokens: ProbeTokens) -> bool:
    """Whether an encoder gives numbers."""
    text = tokens.text(_SHORT)
    with _only_asked(encoder):
        return bool(_outputs(encoder, text, torch.ones_like(text)).isfinite().all())


def reads_ahead(encoder: PreTrainedModel, tokens: ProbeTokens, longest: int) -> bool:
    """Whether the output at the first position depends on the tokens that follow, as the network itself computes it."""
    length = min(_WORDS, longest)
    texts = torch.cat([tokens.text(length), tokens.text(length, turn=1)])
    with _only_asked(encoder):
        one, other = _outputs(encoder, texts, torch.ones_like(texts))[:, 0]
    return _apart(one, other) > _MIN_SEEN


def ignores_padding(encoder: PreTrainedModel, tokens: ProbeTokens, longest: int, *, ready_mask: bool) -> bool:
    """Whether the output at the first position is the same with padding behind the text and without.

    Args:
        ready_mask: whether the mask is handed over as :func:`takes_ready_mask` has it.
    """
    text = tokens.text(_SHORT)
    padded = torch.cat([text, torch.full((1, min(_PADDING, longest - _SHORT)), tokens.padding)], dim=1)
    outputs = []
    with _only_asked(encoder):
        for token_ids in (text, padded):
            mask = (torch.arange(token_ids.shape[1]) < _SHORT).long()[None]
            outputs.append(_outputs(encoder, token_ids, mask[:, None, None, :].bool() if ready_mask else mask)[:, 0])
    return _apart(*outputs) <= _SAME


@contextmanager
def _only_asked(encoder: PreTrainedModel) -> Iterator[None]:
    """Evaluates without gradient, and leaves the encoder's mode and torch's random numbers as they are."""
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


class _Enough(Exception):
    """The first layer is done."""


def _run_first_layer(encoder: PreTrainedModel, token_ids: Tensor) -> None:
    """Positions are looked up before the first layer or in it; the others would take their time in a large encoder."""

    def stop(*_: object) -> None:
        raise _Enough

    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    hooks = [stack[0].register_forward_hook(stop) for stack in stacks]
    try:
        _outputs(encoder, token_ids, torch.ones_like(token_ids))
    except _Enough:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / one.abs().max())
