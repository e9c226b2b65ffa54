"""The layers of a text encoder, which are frozen, or run one by one where another network is to come between them."""

from collections.abc import Iterable

from torch import Tensor, nn
from transformers import PreTrainedModel

_NAMES = ("encoder.layer", "transformer.layer", "layers", "block", "h", "layer")
"""Names of the list of layers: in BERT and its kin, DistilBERT, ModernBERT and Llama and its kin, T5, GPT-2, XLNet."""


def layers_of(encoder: PreTrainedModel) -> nn.ModuleList | None:
    """Returns the list of layers of an encoder; None if it has none, as one whose layers share their weights."""
    name = _name_of_layers(encoder)
    return None if name is None else encoder.get_submodule(name)  # type: ignore[return-value]


def take_upper_layers(encoder: PreTrainedModel, count: int) -> nn.ModuleList:
    """Removes the last ``count`` layers of an encoder that has as many, and returns them, lowest first."""
    name, stack = _name_of_layers(encoder), layers_of(encoder)
    assert name is not None and stack is not None and count <= len(stack)
    kept = len(stack) - count
    encoder.set_submodule(name, stack[:kept])
    return stack[kept:]


def _name_of_layers(encoder: PreTrainedModel) -> str | None:
    modules = dict(encoder.named_modules())
    return next((name for name in _NAMES if isinstance(modules.get(name), nn.ModuleList)), None)


def run_layers(layers: Iterable[nn.Module], hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Applies layers one after another.

    Args:
        hidden: [m, L, D].
        attention_mask: int64 [m, L], 1 for tokens and 0 for padding.

    Returns:
        [m, L, D].
    """
    mask = attention_mask[:, None, None, :].bool()
    for layer in layers:
        hidden = layer(hidden, mask)
    return hidden
