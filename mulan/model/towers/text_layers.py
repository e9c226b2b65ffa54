"""The layers of a text encoder, run one by one where another network is to come between them."""

from collections.abc import Iterable

from torch import Tensor, nn
from transformers import PreTrainedModel


def layers_of(encoder: PreTrainedModel) -> nn.ModuleList | None:
    """Returns the list of layers of an encoder of BERT's type; None if it has none."""
    stack = getattr(getattr(encoder, "encoder", None), "layer", None)
    return stack if isinstance(stack, nn.ModuleList) else None


def take_upper_layers(encoder: PreTrainedModel, count: int) -> nn.ModuleList:
    """Removes the last ``count`` layers of an encoder that has as many, and returns them, lowest first."""
    stack = layers_of(encoder)
    assert stack is not None and count <= len(stack)
    kept = len(stack) - count
    encoder.encoder.layer = stack[:kept]
    return stack[kept:]


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
