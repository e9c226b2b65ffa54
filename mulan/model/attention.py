"""What the towers' attention layers have in common."""

from torch import nn
from transformers import PreTrainedModel

ATTENTION = "sdpa"
"""The implementation asked of ``transformers``: torch's ``scaled_dot_product_attention``."""

_KEY_PROJECTIONS = {
    "albert": "key",
    "audio-spectrogram-transformer": "k_proj",
    "bert": "key",
    "bert-generation": "key",
    "camembert": "key",
    "data2vec-text": "key",
    "distilbert": "k_lin",
    "electra": "key",
    "ernie": "key",
    "flaubert": "k_lin",
    "luke": "key",
    "megatron-bert": "key",
    "mobilebert": "key",
    "mpnet": "k",
    "rembert": "key",
    "roberta": "key",
    "roberta-prelayernorm": "key",
    "roc_bert": "key",
    "splinter": "key",
    "xlm": "k_lin",
    "xlm-roberta": "key",
    "xlm-roberta-xl": "key",
}
"""Kinds of networks whose scores are the product of query and key, and what they may add without regard to the key's
content, each with the name of its projection to keys. Others turn a key by its place (RoFormer) or compare it with
places (DeBERTa): there its bias counts."""


def attention_of(network_class: type[PreTrainedModel]) -> str:
    """The implementation of attention for a kind of network: :data:`ATTENTION`, or its own where it knows no other."""
    return ATTENTION if network_class._supports_sdpa else "eager"


def drop_key_biases(encoder: PreTrainedModel) -> None:
    """Removes the bias of every projection to attention keys where that changes nothing that the encoder computes.

    A key's bias adds the same number to all of a query's scores, and softmax ignores that. So its true gradient is
    zero, and Adam would scale the rounding noise in its place up to whole steps: a parameter that wanders at random and
    differs between runs that are otherwise the same.
    """
    projection = _KEY_PROJECTIONS.get(encoder.config.model_type)
    for name, layer in encoder.named_modules():
        if name.rpartition(".")[2] == projection and isinstance(layer, nn.Linear):
            layer.register_parameter("bias", None)
