"""Text encoders of a recipe: read from a folder, and refused where their first position is not the sentence."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from mulan.config import sections
from mulan.data.text import FIT_ENCODERS, load_tokenizer
from mulan.model.towers.pretrained_networks import attention_of, load_network, quietly
from mulan.model.towers.text_probe import (
    ProbeTokens,
    ignores_padding,
    is_finite,
    longest_text,
    reads_ahead,
    takes_ready_mask,
)
from mulan.storage.hub import PretrainedError, loading
from mulan.storage.weights_cache import weights_folder

_MAX_LAYERS = 1000
"""A damaged ``config.json`` may ask for any number; the largest encoders have some 100."""
_MIN_TOKENS = 3
"""What stands before a text, a word, and what stands behind it."""
_WORDS = 8
"""To make texts of: the last of a vocabulary, which begins with special tokens."""


def load_encoder(section: sections.TextTowerConfig) -> PreTrainedModel:
    """The encoder of a recipe with its pretrained weights, in float32, tried out with its own tokenizer.

    Raises:
        PretrainedError: no such folder, not a text encoder, weights missing, or fewer layers or positions than asked
            for; its first position is not the whole sentence; or its tokenizer is that of another network.
    """
    spec, folder = section.pretrained, weights_folder(section.pretrained)
    config = _read_config(spec, folder, section.layers)
    network_class = _network_class(config)
    decodes = config.is_encoder_decoder or type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if network_class is None or decodes:
        what = "an encoder with a decoder" if decodes else "no text encoder"
        raise PretrainedError(spec, [f"it is of kind {config.model_type!r}, {what}"], FIT_ENCODERS)
    encoder = load_network(network_class, spec, folder, config, remedy=FIT_ENCODERS)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # before it is tried out: the tower has none, and some networks cannot do without
    tokenizer = load_tokenizer(section)
    assert tokenizer is not None
    with loading(spec, "cannot be run on its tokenizer's tokens", FIT_ENCODERS):
        _check(spec, encoder, tokenizer, section.max_tokens)
    return encoder


def drawn_encoder(config: Mapping[str, Any]) -> PreTrainedModel:
    """The encoder that a configuration of ``transformers`` describes, with fresh weights.

    Raises:
        ValueError: it describes none.
    """
    read = AutoConfig.for_model(**config)
    network_class = _network_class(read)
    if network_class is None:
        raise ValueError(f"{read.model_type!r} is no network of transformers")
    encoder: PreTrainedModel = network_class._from_config(read, attn_implementation=attention_of(network_class))
    return encoder


def _read_config(spec: str, folder: Path, layers: int) -> PreTrainedConfig:
    with loading(spec, "config.json cannot be loaded", FIT_ENCODERS):
        values = json.loads((folder / "config.json").read_bytes())
        if not isinstance(values, dict):
            raise TypeError(f"it holds a {type(values).__name__}, not an object")
        for name, value in values.items():
            if "layer" in name and isinstance(value, int) and value > _MAX_LAYERS:
                raise ValueError(f"{name} = {value}; no encoder has more than {_MAX_LAYERS}")
        with quietly():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        if not hasattr(config, "num_hidden_layers"):  # one of several networks
            raise ValueError(f"it is of kind {config.model_type!r}, which has no layers of its own")
        available = config.num_hidden_layers
        if available < 1:
            raise ValueError(f"num_hidden_layers = {available}")
    if layers > available:
        raise PretrainedError(
            spec, [f"text_tower.layers = {layers}, but it has {available}"], f"Ask for 1 to {available}, or 0 for all."
        )
    if layers:
        with loading(spec, "config.json cannot be loaded", FIT_ENCODERS):
            config.num_hidden_layers = layers
    return config


def _network_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    found = MODEL_MAPPING.get(type(config), None)
    network_class: type[PreTrainedModel] | None = found[0] if isinstance(found, tuple) else found
    return network_class


def _check(spec: str, encoder: PreTrainedModel, tokenizer: Tokenizer, max_tokens: int) -> None:
    tokens, largest = _probe_tokens(tokenizer)
    embeddings = encoder.get_input_embeddings().weight.shape[0]
    if largest >= embeddings:
        fault = f"its tokenizer has token {largest}, but the network has embeddings of {embeddings} tokens"
        remedy = "Save the network after network.resize_token_embeddings(len(tokenizer)), or its own tokenizer with it."
        raise PretrainedError(spec, [fault], remedy)
    longest = longest_text(encoder, tokens, max_tokens)
    if longest < _MIN_TOKENS:
        raise PretrainedError(spec, ["it cannot be run on token ids and their mask alone"], FIT_ENCODERS)
    if not is_finite(encoder, tokens):
        raise PretrainedError(spec, ["its weights give outputs that are not finite"], "Restore the file of weights.")
    faults = []
    if not reads_ahead(encoder, tokens, longest):
        faults.append("its first position does not depend on the tokens that follow (the network is causal)")
    if not ignores_padding(encoder, tokens, longest, ready_mask=takes_ready_mask(encoder)):
        faults.append("its output depends on how far a text is padded")
    if longest < max_tokens:
        few = f"text_tower.max_tokens = {max_tokens}, but it has positions for {longest} tokens"
        remedy = FIT_ENCODERS if faults else f"Set text_tower.max_tokens to {longest} or less."
        raise PretrainedError(spec, [*faults, few], remedy)
    if faults:
        raise PretrainedError(spec, faults, FIT_ENCODERS)


def _probe_tokens(tokenizer: Tokenizer) -> tuple[ProbeTokens, int]:
    """Tokens of a tokenizer, and the largest id that it gives."""
    assert tokenizer.padding is not None
    empty, padding = tokenizer.encode("").ids, tokenizer.padding["pad_id"]
    ids = set(tokenizer.get_vocab().values())
    words = sorted(ids.difference(empty, [padding]) or ids)
    return ProbeTokens(empty[0], words[-_WORDS:], padding), max(*ids, *empty, padding)
