"""Loading of a recipe's text encoder, which is rejected if its pooled output does not represent the text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    MT5EncoderModel,
    PreTrainedConfig,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)

from mulan.config import sections
from mulan.config.parsing import parse_json
from mulan.config.sections import Pooling
from mulan.data.text import SUPPORTED_ENCODERS, TextTokenizer, load_tokenizer
from mulan.model.towers.pretrained_networks import attention_implementation, load_network, quiet_transformers
from mulan.model.towers.text_probe import (
    ProbeTokens,
    accepts_4d_mask,
    ignores_padding,
    is_finite,
    max_text_length,
    reads_whole_text,
)
from mulan.storage.hub import PretrainedError, loading
from mulan.storage.weights_cache import weights_folder

_WITHOUT_DECODER: dict[str, type[PreTrainedModel]] = {
    "mt5": MT5EncoderModel,
    "t5": T5EncoderModel,
    "umt5": UMT5EncoderModel,
}
"""Networks that load the encoder of a checkpoint with a decoder, by model type."""
_MAX_LAYERS = 1000
"""Maximum plausible number of layers; the largest encoders have about 100, a corrupt ``config.json`` may state any."""
_MIN_TOKENS = 3
"""Minimum length of a text: a word between two special tokens."""
_WORDS = 8
"""Number of tokens for probe texts: the last ones of the vocabulary, which begins with special tokens."""


def load_encoder(section: sections.TextTowerConfig) -> PreTrainedModel:
    """Loads a recipe's encoder with its pretrained weights in float32, and probes it with its own tokenizer.

    Raises:
        PretrainedError: The folder does not exist, holds no text encoder, lacks weights, or has fewer layers or
            positions than requested; the pooled output does not represent the whole text; or the tokenizer belongs to
            another network.
    """
    spec, folder = section.pretrained, weights_folder(section.pretrained)
    config = _read_config(spec, folder, section.layers)
    network_class = _network_class(config)
    if network_class is None:
        what = "an encoder with a decoder" if _decodes(config) else "not a text encoder"
        raise PretrainedError(spec, [f"its model type is {config.model_type!r}, {what}"], SUPPORTED_ENCODERS)
    encoder = _alone(load_network(network_class, spec, folder, config, remedy=SUPPORTED_ENCODERS))
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # removed before the probes, as in the tower, since some networks do not run without it
    tokenizer = load_tokenizer(section)
    assert tokenizer is not None
    with loading(spec, "cannot be run on its tokenizer's tokens", SUPPORTED_ENCODERS):
        _check(section, encoder, tokenizer)
    return encoder


def encoder_from_config(config: Mapping[str, Any]) -> PreTrainedModel:
    """Builds the encoder that a configuration of ``transformers`` describes, with randomly initialised weights.

    Raises:
        ValueError: The configuration describes no encoder.
    """
    parsed = AutoConfig.for_model(**config)
    network_class = _network_class(parsed)
    if network_class is None:
        raise ValueError(f"transformers has no network of type {parsed.model_type!r}")
    attention = attention_implementation(network_class)
    return _alone(network_class._from_config(parsed, attn_implementation=attention))


def _read_config(spec: str, folder: Path, layers: int) -> PreTrainedConfig:
    with loading(spec, "config.json cannot be loaded", SUPPORTED_ENCODERS):
        values = parse_json((folder / "config.json").read_bytes())
        if not isinstance(values, dict):
            raise TypeError(f"it contains a {type(values).__name__}, not an object")
        for name, value in values.items():
            if "layer" in name and isinstance(value, int) and value > _MAX_LAYERS:
                raise ValueError(f"{name} = {value}; no encoder has more than {_MAX_LAYERS}")
        with quiet_transformers():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        if not hasattr(config, "num_hidden_layers"):  # for example, the configuration of several networks
            raise ValueError(f"its model type is {config.model_type!r}, which has no layers of its own")
        available = config.num_hidden_layers
        if available < 1:
            raise ValueError(f"num_hidden_layers = {available}")
    if layers > available:
        raise PretrainedError(
            spec,
            [f"text_tower.layers = {layers}, but it has {available}"],
            f"Set it to 1 to {available}, or 0 for all.",
        )
    if layers:
        with loading(spec, "config.json cannot be loaded", SUPPORTED_ENCODERS):
            config.num_hidden_layers = layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:layers]
    return config


def _network_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    if config.model_type in _WITHOUT_DECODER:
        return _WITHOUT_DECODER[config.model_type]
    mapped = MODEL_MAPPING.get(type(config), None)
    network_class: type[PreTrainedModel] | None = mapped[0] if isinstance(mapped, tuple) else mapped
    return None if _decodes(config) else network_class


def _decodes(config: PreTrainedConfig) -> bool:
    return bool(config.is_encoder_decoder) or type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING


def _alone(network: PreTrainedModel) -> PreTrainedModel:
    """Returns the encoder inside a network that shares its token embeddings with a decoder, or the network itself.

    In the encoder, the embeddings have one name, under which checkpoints and exported models hold them.
    """
    encoder: PreTrainedModel = network.encoder if type(network) in _WITHOUT_DECODER.values() else network
    return encoder


_PARTIAL: dict[Pooling, str] = {
    "cls": "its first position does not depend on the tokens that follow (the network is causal)",
    "last": "its last position does not depend on the tokens that precede it",
}
"""The fault of an encoder whose output at one position does not represent the whole text."""


def _check(section: sections.TextTowerConfig, encoder: PreTrainedModel, tokenizer: TextTokenizer) -> None:
    spec, pooling, max_tokens = section.pretrained, section.pooling, section.max_tokens
    tokens, max_id = _probe_tokens(tokenizer)
    num_embeddings = encoder.get_input_embeddings().weight.shape[0]
    if max_id >= num_embeddings:
        fault = f"its tokenizer has token id {max_id}, but the network has only {num_embeddings} token embeddings"
        remedy = "Save the network after network.resize_token_embeddings(len(tokenizer)), or its own tokenizer with it."
        raise PretrainedError(spec, [fault], remedy)
    max_length = max_text_length(encoder, tokens, max_tokens)
    if max_length < _MIN_TOKENS:
        raise PretrainedError(spec, ["it cannot be run on token ids and their mask alone"], SUPPORTED_ENCODERS)
    if not is_finite(encoder, tokens):
        raise PretrainedError(spec, ["its outputs are not finite"], "Restore its weight files.")
    faults = []
    if not reads_whole_text(encoder, tokens, max_length, pooling):
        faults.append(_PARTIAL[pooling])
    if not ignores_padding(encoder, tokens, max_length, pooling, use_4d_mask=accepts_4d_mask(encoder)):
        faults.append("its output depends on the amount of padding")
    if max_length < max_tokens:
        few = f"text_tower.max_tokens = {max_tokens}, but it has positions for {max_length} tokens"
        remedy = SUPPORTED_ENCODERS if faults else f"Set text_tower.max_tokens to {max_length} or less."
        raise PretrainedError(spec, [*faults, few], remedy)
    if faults:
        raise PretrainedError(spec, faults, SUPPORTED_ENCODERS)


def _probe_tokens(tokenizer: TextTokenizer) -> tuple[ProbeTokens, int]:
    """Returns the tokens for probe texts, and the largest token id of the tokenizer."""
    padding, backend = tokenizer.padding_id, tokenizer.tokenizer
    special, text = backend.encode("").ids, backend.encode("music")
    first = text.ids[0] if text.special_tokens_mask[:1] == [1] else None
    ids = set(backend.get_vocab().values())
    words = sorted(ids.difference(special, [padding]) or ids)
    return ProbeTokens(first, words[-_WORDS:], padding), max(*ids, *special, padding)
