"""Audio Spectrogram Transformers with their classifier (Gong et al. 2021), such as the public ones for AudioSet.

Their code is that of ``transformers``: no code in a checkpoint is run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from mulan.config.parsing import parse_json
from mulan.model.audio.extractors import AstLogMel
from mulan.model.inference.passes import WINDOWS_AT_ONCE
from mulan.model.towers.pretrained_networks import load_network
from mulan.storage.hub import PretrainedError, loading
from mulan.storage.licence import Licence, read_licence

_REMEDY = (
    "Set music.tagger to an Audio Spectrogram Transformer with a classifier that transformers has saved with its "
    "feature extractor."
)


@dataclass(frozen=True)
class AstCheckpoint:
    """A checkpoint of ``ASTForAudioClassification``, without its weights."""

    spec: str
    """Name of the checkpoint in the settings, for messages."""
    folder: Path
    """Local folder of the checkpoint."""
    config: ASTConfig
    """Configuration of the network."""
    extractor: ASTFeatureExtractor
    """Feature extractor of the network."""
    licence: Licence
    """Licence of the checkpoint."""

    @classmethod
    def read(cls, spec: str, folder: Path) -> Self:
        """Reads the configuration and the feature extractor.

        Raises:
            PretrainedError: The folder holds another kind of network, or its files are damaged or do not fit each
                other.
        """
        with loading(spec, "config.json cannot be used", _REMEDY):
            config = _read_config(parse_json((folder / "config.json").read_bytes()))
        with loading(spec, "preprocessor_config.json cannot be used", _REMEDY):
            extractor = _read_extractor(parse_json((folder / "preprocessor_config.json").read_bytes()))
        expected = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
        faults = [
            f"{name} is {getattr(extractor, name)} in preprocessor_config.json, but {value} in config.json"
            for name, value in expected.items()
            if getattr(extractor, name) != value
        ]
        if faults:
            raise PretrainedError(spec, faults, _REMEDY)
        return cls(spec, folder, config, extractor, read_licence(folder))

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.config.id2label[number] for number in range(self.config.num_labels))

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the network's input in Hz."""
        rate_hz: int = self.extractor.sampling_rate
        return rate_hz

    @property
    def window_samples(self) -> int:
        """Length of a window in samples: the whole seconds that the spectrogram has room for, if there is one.

        The public checkpoints were trained on those: 10 s for a spectrogram of 10.24 s, 1 s for one of 1.28 s.
        """
        spectrogram = AstLogMel(self.extractor).spectrogram
        longest = spectrogram.window_samples + (self.extractor.max_length - 1) * spectrogram.hop_samples
        whole = longest // self.sample_rate_hz * self.sample_rate_hz
        return whole or longest


class AstTagger:
    """A network that computes the probabilities of tags, in float32, each independent of the other tags."""

    def __init__(self, checkpoint: AstCheckpoint, network: ASTForAudioClassification, device: torch.device) -> None:
        self.tags, self.sample_rate_hz = checkpoint.tags, checkpoint.sample_rate_hz
        self.window_samples = checkpoint.window_samples
        self._front_end = AstLogMel(checkpoint.extractor).to(device)
        self._network, self._device = network.to(device).eval(), device

    @classmethod
    def load(cls, checkpoint: AstCheckpoint, *, device: torch.device) -> Self:
        """Loads the weights of a checkpoint.

        Raises:
            PretrainedError: Weights are missing, such as those of the classifier, or do not fit the configuration.
        """
        network = load_network(
            ASTForAudioClassification, checkpoint.spec, checkpoint.folder, checkpoint.config, remedy=_REMEDY
        )
        assert isinstance(network, ASTForAudioClassification)
        return cls(checkpoint, network, device)

    def tag_windows(self, waveform: np.ndarray) -> np.ndarray:
        """Computes the probabilities of the tags of windows, int16 [n, window_samples], as float32 [n, classes]."""
        rows = [
            self._probabilities(waveform[k : k + WINDOWS_AT_ONCE]) for k in range(0, len(waveform), WINDOWS_AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, len(self.tags)), np.float32), *rows])

    def _probabilities(self, windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            spectrogram = self._front_end(torch.tensor(windows, device=self._device))
            # AudioSet's classes do not exclude each other
            return self._network(spectrogram).logits.sigmoid().cpu().numpy()


def _read_config(values: object) -> ASTConfig:
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(values, dict) or kind != ASTConfig.model_type:
        raise ValueError(f"it describes {f'a network of type {kind!r}' if kind else 'no network of transformers'}")
    config = ASTConfig.from_dict(values)
    unnamed = [number for number in range(config.num_labels) if not isinstance(config.id2label.get(number), str)]
    if unnamed:
        raise ValueError(f"id2label has no name for class {unnamed[0]}")
    return config


def _read_extractor(values: object) -> ASTFeatureExtractor:
    if not isinstance(values, dict):
        raise TypeError(f"it contains a {type(values).__name__}, not an object")
    kind = values.get("feature_extractor_type")
    if kind not in (None, ASTFeatureExtractor.__name__):
        raise ValueError(f"it describes a {kind}, but the network needs an {ASTFeatureExtractor.__name__}")
    extractor: ASTFeatureExtractor = ASTFeatureExtractor.from_dict(values)
    return extractor
