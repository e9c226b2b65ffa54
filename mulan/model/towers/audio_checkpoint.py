"""Pretrained audio encoders of ``transformers`` with their feature extractors, from a checkpoint or an exported model.

Their code is that of ``transformers``: no code in a checkpoint is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapAudioConfig,
    ClapAudioModel,
    ClapConfig,
    ClapFeatureExtractor,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mulan.config.audio import PretrainedTowerConfig
from mulan.config.parsing import parse_json
from mulan.model.audio.extractors import Extractor, ast_section, extractor_front_end
from mulan.model.audio.front_end import KaldiLogMel
from mulan.model.towers.pretrained_networks import attention_implementation, load_network
from mulan.storage.hub import AUDIO_CHECKPOINT, PretrainedError, loading
from mulan.storage.licence import Licence, read_licence
from mulan.storage.weights_cache import weights_folder

_MERT = "mert_model"
"""Model type of MERT, whose checkpoints bring code of their own, mostly for the network of HuBERT."""
_MERT_EXTENSIONS = ("feature_extractor_cqt", "deepnorm")
"""Settings of MERT with which its network is not HuBERT's."""
_SUPPORTED = (
    "Set audio_tower.pretrained to a checkpoint of HuBERT, MERT, Wav2Vec2, Data2VecAudio, Whisper, CLAP or AST that "
    "transformers has saved with its feature extractor."
)


class _Family(NamedTuple):
    """Classes of ``transformers`` that belong together."""

    config: type[PreTrainedConfig]
    network: type[PreTrainedModel]
    extractor: type[Extractor]
    renamed: Mapping[str, str] | None = None
    """Patterns of the names of weights in files that hold more than the encoder, and their replacements."""


_FAMILIES = (
    _Family(HubertConfig, HubertModel, Wav2Vec2FeatureExtractor),
    _Family(Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2FeatureExtractor),
    _Family(Data2VecAudioConfig, Data2VecAudioModel, Wav2Vec2FeatureExtractor),
    _Family(WhisperConfig, WhisperEncoder, WhisperFeatureExtractor, {r"^(model\.)?encoder\.": ""}),
    _Family(ClapAudioConfig, ClapAudioModel, ClapFeatureExtractor, {r"^audio_model\.": ""}),
    _Family(ASTConfig, ASTModel, ASTFeatureExtractor),
)


@dataclass(frozen=True)
class AudioCheckpoint:
    """A pretrained audio encoder and its feature extractor."""

    network: PreTrainedModel
    extractor: Extractor
    licence: Licence

    @classmethod
    def load(cls, section: PretrainedTowerConfig, *, sample_rate_hz: int, window_samples: int) -> "AudioCheckpoint":
        """Loads the encoder that a tower's section names, with its weights in float32.

        Raises:
            PretrainedError: The folder does not exist, holds no supported audio encoder, or lacks weights or values;
                the sample rate or the length of the windows does not fit it; or its layers cannot be weighted.
        """
        spec, folder = section.pretrained, weights_folder(section.pretrained, AUDIO_CHECKPOINT)
        with loading(spec, "config.json cannot be used", _SUPPORTED):
            family, config = _read_config(parse_json((folder / "config.json").read_bytes()))
        with loading(spec, "preprocessor_config.json cannot be used", _SUPPORTED):
            extractor = _read_extractor(family, parse_json((folder / "preprocessor_config.json").read_bytes()))
        rate, faults = extractor.sampling_rate, []
        if rate != sample_rate_hz:
            faults.append(f"its feature extractor expects {rate} Hz, but data.sample_rate_hz = {sample_rate_hz}")
            window_samples = round(window_samples * rate / sample_rate_hz)
        with loading(spec, "cannot be run on the output of its feature extractor", _SUPPORTED):
            faults += _window_faults(config, extractor, window_samples)
            if not faults:
                _check_run(family, config, extractor, window_samples)
        if section.layers == "weighted" and family.network is ClapAudioModel:
            faults.append("the layers of CLAP's network differ in width, so that audio_tower.layers must be last")
        if faults:
            raise PretrainedError(spec, faults, "Change these fields of the recipe.")
        network = load_network(family.network, spec, folder, config, remedy=_SUPPORTED, renamed=family.renamed)
        return cls(network, extractor, read_licence(folder))

    @classmethod
    def from_values(
        cls, network: Mapping[str, Any], extractor: Mapping[str, Any], licence: Licence
    ) -> "AudioCheckpoint":
        """Builds an encoder with randomly initialised weights from :attr:`network_values` and the others' values.

        Raises:
            ValueError, TypeError, KeyError: The values describe no supported encoder or extractor.
        """
        family, config = _read_config(network)
        attention = attention_implementation(family.network)
        built: PreTrainedModel = family.network._from_config(config, attn_implementation=attention)
        return cls(built, _read_extractor(family, extractor), licence)

    @property
    def network_values(self) -> dict[str, Any]:
        """The encoder's configuration, serialisable as JSON."""
        values: dict[str, Any] = self.network.config.to_diff_dict()
        return values

    @property
    def extractor_values(self) -> dict[str, Any]:
        """The extractor's values, serialisable as JSON."""
        values: dict[str, Any] = self.extractor.to_dict()
        return values


def _read_config(values: Any) -> tuple[_Family, PreTrainedConfig]:
    """Returns the family of a ``config.json`` and its configuration, without what is random in training."""
    kind = values.get("model_type") if isinstance(values, Mapping) else None
    if kind == _MERT:
        extensions = [name for name in _MERT_EXTENSIONS if values.get(name)]
        if extensions:
            raise ValueError(f"{extensions[0]} is set, with which MERT's network is not that of HuBERT")
        values, kind = {**values, "model_type": HubertConfig.model_type}, HubertConfig.model_type
    if kind == ClapConfig.model_type:
        values, kind = ClapConfig.from_dict(dict(values)).audio_config.to_dict(), ClapAudioConfig.model_type
    families = [family for family in _FAMILIES if family.config.model_type == kind]
    if not families:
        raise ValueError(f"it describes {f'a network of type {kind!r}' if kind else 'no network of transformers'}")
    config = families[0].config.from_dict(dict(values))
    if getattr(config, "add_adapter", False):
        raise ValueError("add_adapter is set; adapters are not supported")
    _disable_random_changes(config)
    return families[0], config


def _disable_random_changes(config: PreTrainedConfig) -> None:
    """Disables masks, which are drawn from numpy's generator, and layers that are skipped at random.

    A skipped layer has no gradient, and ZeRO stage 3 needs those of the same parameters on all workers. CLAP's fusion
    is for windows longer than 10 s, which are refused.
    """
    if isinstance(config, WhisperConfig):
        config.encoder_layerdrop = 0.0
    elif isinstance(config, ClapAudioConfig):
        if config.enable_fusion and config.fusion_type == "channel_map":
            raise ValueError("fusion_type channel_map is not supported")
        config.enable_fusion = False
    elif not isinstance(config, ASTConfig):
        config.layerdrop = config.mask_time_prob = config.mask_feature_prob = 0.0


def _read_extractor(family: _Family, values: Any) -> Extractor:
    if not isinstance(values, Mapping):
        raise TypeError(f"it contains a {type(values).__name__}, not an object")
    expected, kind = family.extractor.__name__, values.get("feature_extractor_type")
    if kind not in (None, expected):
        raise ValueError(f"it describes a {kind}, but the network needs a {expected}")
    extractor = family.extractor.from_dict(dict(values))
    if getattr(extractor, "dither", 0.0):
        raise ValueError(f"dither = {extractor.dither}; random noise is not supported")
    return extractor


def _window_faults(config: PreTrainedConfig, extractor: Extractor, window_samples: int) -> Iterator[str]:
    """Yields an error if a window is longer or shorter than the extractor and the network process."""
    rate, longest = extractor.sampling_rate, None
    if isinstance(extractor, WhisperFeatureExtractor):
        longest, shortest = extractor.n_samples, 1
    elif isinstance(extractor, ClapFeatureExtractor):
        longest, shortest = extractor.nb_max_samples, 1
    elif isinstance(extractor, ASTFeatureExtractor):
        spectrogram = KaldiLogMel(ast_section(extractor), sample_rate_hz=rate)
        shortest, hop = spectrogram.window_samples, spectrogram.hop_samples
        longest = shortest + extractor.max_length * hop - 1
    else:
        shortest = 1
        for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
            shortest = (shortest - 1) * stride + kernel
    window = (
        f"a window (data.window_s or, for MuLaP, mulap.segment_s) has {window_samples / rate:g} s, but it processes"
    )
    if longest is not None and window_samples > longest:
        yield f"{window} at most {longest / rate:g} s"
    if window_samples < shortest:
        yield f"{window} at least {shortest / rate:g} s"


def _check_run(family: _Family, config: PreTrainedConfig, extractor: Extractor, window_samples: int) -> None:
    """Runs the front end and, without computing anything, the network on its output."""
    features = extractor_front_end(extractor)(torch.zeros(1, window_samples))
    with torch.no_grad(), torch.device("meta"):
        skeleton = family.network._from_config(config, attn_implementation=attention_implementation(family.network))
        skeleton.eval()(features.to("meta"))
