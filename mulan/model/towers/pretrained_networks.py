"""Networks of ``transformers`` from a local folder, with errors that name the recipe's field."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from mulan.storage.hub import PretrainedError, loading

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


_MAX_NAMED = 20
"""Weights in one message; the others are counted."""


def load_network(
    network_class: type[PreTrainedModel], spec: str, folder: Path, config: Any, *, remedy: str
) -> PreTrainedModel:
    """A network with all of its weights, in float32. Asks no hub, prints nothing and runs no code of the folder's.

    Args:
        spec: what the recipe names, for messages.
        config: of ``transformers``; the folder's own or one with fewer layers.

    Raises:
        PretrainedError: cannot be loaded, or weights are missing (those of a pooler may be).
    """
    with loading(spec, "cannot be loaded", remedy):
        config._attn_implementation = attention_of(network_class)
        _check_size(network_class, spec, folder, config, remedy)
        with quietly():
            network, found = network_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    misfits = sorted(
        f"{name} is {list(there)} in its file, and {list(here)} by config.json"
        for name, there, here in found["mismatched_keys"]
    )
    faults = [f"has no weights for {_some(missing)}"] if missing else []
    if misfits:
        faults.append(_some(misfits))
    if faults:
        raise PretrainedError(spec, faults, remedy)
    loaded: PreTrainedModel = network
    return loaded


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"


def _check_size(network_class: type[PreTrainedModel], spec: str, folder: Path, config: Any, remedy: str) -> None:
    """Before memory is taken for weights that are not there: a configuration may ask for any number of them."""
    with torch.device("meta"):
        skeleton = network_class(config)
    described = sum(parameter.numel() for parameter in skeleton.parameters())
    held = sum(file.stat().st_size for kind in ("*.safetensors", "*.bin") for file in folder.glob(kind))
    if described > held:
        fault = (
            f"cannot be loaded: config.json describes {described:,} weights, its files of weights hold {held:,} bytes"
        )
        raise PretrainedError(spec, [fault], remedy)


@contextmanager
def quietly() -> Iterator[None]:
    """Without a progress bar, and without a report on what is left out on purpose (layers above those asked for)."""
    verbosity, progress_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()
