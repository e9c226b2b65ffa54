"""What the towers' attention layers have in common."""

from torch import nn

ATTENTION = "sdpa"
"""The implementation asked of ``transformers``: torch's ``scaled_dot_product_attention``."""

_KEY_PROJECTIONS = ("key", "k_proj", "k_lin")
"""What ``transformers`` calls the projection to keys in BERT, in AST and in DistilBERT."""


def drop_key_biases(encoder: nn.Module) -> None:
    """Removes the bias of every projection to attention keys, which changes nothing that the encoder computes.

    A key's bias adds the same number to all of a query's scores, and softmax ignores that. So its true gradient is
    zero, and Adam would scale the rounding noise in its place up to whole steps: a parameter that wanders at random and
    differs between runs that are otherwise the same.
    """
    for name, layer in encoder.named_modules():
        if name.rpartition(".")[2] in _KEY_PROJECTIONS and isinstance(layer, nn.Linear):
            layer.register_parameter("bias", None)
