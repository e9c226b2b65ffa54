"""Loading of ``transformers`` networks from a local folder, with errors that name the field of the recipe."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from mulan.storage.hub import PretrainedError, loading

ATTENTION = "sdpa"
"""Attention implementation of ``transformers`` to use: torch's ``scaled_dot_product_attention``."""

_KEY_PROJECTIONS = {
    "albert": "key",
    "audio-spectrogram-transformer": "k_proj",
    "bert": "key",
    "bert-generation": "key",
    "camembert": "key",
    "clap_audio_model": "key",
    "data2vec-audio": "k_proj",
    "data2vec-text": "key",
    "distilbert": "k_lin",
    "electra": "key",
    "ernie": "key",
    "flaubert": "k_lin",
    "hubert": "k_proj",
    "luke": "key",
    "megatron-bert": "key",
    "mobilebert": "key",
    "mpnet": "k",
    "rembert": "key",
    "roberta": "key",
    "roberta-prelayernorm": "key",
    "roc_bert": "key",
    "splinter": "key",
    "wav2vec2": "k_proj",
    "xlm": "k_lin",
    "xlm-roberta": "key",
    "xlm-roberta-xl": "key",
}
"""Names of the key projection by model type, for networks whose attention scores are the product of query and key, plus
terms that do not depend on the content of the key, as in MPNet. Not listed are networks that rotate keys by position
(RoFormer, Qwen2) or compare them with positions (DeBERTa), so that their key bias has an effect; that have no key bias
(T5, ModernBERT, Llama); or that have it inside the bias of one projection for queries, keys and values (GPT-2)."""


def attention_implementation(network_class: type[PreTrainedModel]) -> str:
    """Returns the attention implementation for a kind of network: :data:`ATTENTION` if supported, otherwise eager."""
    return ATTENTION if network_class._supports_sdpa else "eager"


def drop_key_biases(encoder: PreTrainedModel) -> None:
    """Removes the bias of every attention key projection where it has no effect on the encoder's output.

    A key bias adds the same number to all scores of a query, which softmax ignores. Its true gradient is therefore
    zero, and Adam would amplify the rounding noise to full steps: the parameter would drift at random and differ
    between otherwise equal runs.
    """
    projection = _KEY_PROJECTIONS.get(encoder.config.model_type)
    for name, layer in encoder.named_modules():
        if name.rpartition(".")[2] == projection and isinstance(layer, nn.Linear):
            layer.register_parameter("bias", None)


_UNUSED = {"xlnet": {"mask_emb", "r_s_bias", "seg_embed"}}
"""Names of parameters by model type that act only on inputs which a text tower does not have, such as segments."""


_FIXED = {"roformer": {"embed_positions"}}
"""Names of modules by model type whose parameters the network reads without gradient: sinusoidal positions."""


def drop_unused(encoder: PreTrainedModel) -> None:
    """Removes the parameters that a text tower does not use, and freezes those that are fixed: neither has a gradient.

    They would be trained by weight decay alone.
    """
    kind = encoder.config.model_type
    for name, module in encoder.named_modules():
        for parameter in _UNUSED.get(kind, set()) & module._parameters.keys():
            module.register_parameter(parameter, None)
        if name.rpartition(".")[2] in _FIXED.get(kind, set()):
            module.requires_grad_(False)


_MAX_NAMED = 20
"""Maximum number of weights named in one message; the others are counted."""


def load_network(
    network_class: type[PreTrainedModel],
    spec: str,
    folder: Path,
    config: Any,
    *,
    remedy: str,
    renamed: Mapping[str, str] | None = None,
) -> PreTrainedModel:
    """Loads a network with all of its weights in float32.

    It does not contact the hub, prints nothing, and runs no code from the folder.

    Args:
        spec: The weights as the recipe specifies them, for messages.
        config: Configuration of ``transformers``: that of the folder, or one with fewer layers.
        renamed: Patterns of names in the files and their replacements, for a network that is a part of the files'.

    Raises:
        PretrainedError: The network cannot be loaded, or weights are missing (other than a pooler's).
    """
    with loading(spec, "cannot be loaded", remedy):
        config._attn_implementation = attention_implementation(network_class)
        _check_size(network_class, spec, folder, config, remedy)
        with quiet_transformers():
            network, report = network_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                key_mapping=renamed,
            )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    mismatched = sorted(
        f"{name} has shape {list(theirs)} in its file, but {list(ours)} by config.json"
        for name, theirs, ours in report["mismatched_keys"]
    )
    faults = [f"has no weights for {_shortened(missing)}"] if missing else []
    if mismatched:
        faults.append(_shortened(mismatched))
    if faults:
        raise PretrainedError(spec, faults, remedy)
    loaded: PreTrainedModel = network
    return loaded


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"


def _check_size(network_class: type[PreTrainedModel], spec: str, folder: Path, config: Any, remedy: str) -> None:
    """Checks that the files can hold the configuration's weights, before memory is allocated for them."""
    with torch.device("meta"):
        skeleton = network_class(config)
    weights = sum(parameter.numel() for parameter in skeleton.parameters())
    size = sum(file.stat().st_size for kind in ("*.safetensors", "*.bin") for file in folder.glob(kind))
    if weights > size:
        fault = f"cannot be loaded: config.json describes {weights:,} weights, but the weight files have {size:,} bytes"
        raise PretrainedError(spec, [fault], remedy)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppresses progress bars, and warnings about weights of dropped layers, which are not loaded on purpose."""
    verbosity, progress_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()
