"""The detector of music, which discards clips with less than half music (MuLan §3.4).

MuLan's detector is not public. Here it is any tagger with a class of music: one that mulan trained and exported, a
public Audio Spectrogram Transformer for AudioSet, or a function of the user's own.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mulan.config.parsing import parse_json
from mulan.data.audio.windows import covering_windows
from mulan.model.inference.files import CONFIG, ModelFolder
from mulan.model.inference.inputs import in_batches
from mulan.model.inference.passes import WINDOWS_AT_ONCE
from mulan.model.inference.tagger import Tagger, read_tagger_config
from mulan.preparation.ast_tagger import AstCheckpoint, AstTagger
from mulan.preparation.function_tagger import FunctionTagger, names_function
from mulan.preparation.music_class import MusicDetectorError, music_class
from mulan.preparation.settings import MusicConfig
from mulan.storage.hub import AST_CHECKPOINT, loading
from mulan.storage.licence import Licence
from mulan.storage.weights_cache import weights_folder

_FILES = replace(AST_CHECKPOINT, field="music.tagger")
"""The files of a tagger: those of an exported one have the same names."""
_REMEDY = (
    "Set music.tagger to the folder of an exported tagger or of an Audio Spectrogram Transformer with its feature "
    "extractor."
)


class WindowTagger(Protocol):
    """What computes the probabilities of tags in windows of audio."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of a window in Hz."""

    @property
    def window_samples(self) -> int:
        """Length of a window in samples."""

    def tag_windows(self, waveform: np.ndarray, /) -> np.ndarray:
        """Computes the probabilities of the tags of windows, int16 [n, window_samples], as float32 [n, classes]."""


class MusicDetector:
    """A tagger, and the rule by which its probabilities say how much of a clip is music.

    Every clip has forward passes of its own, so its share of music does not depend on the clips before it.
    """

    def __init__(self, tagger: WindowTagger, music: int, *, threshold: float) -> None:
        """
        Args:
            tagger: The tagger.
            music: Number of its class of music.
            threshold: Minimum probability of music in a window that counts as music.
        """
        self._tagger, self._music, self._threshold = tagger, music, threshold

    def music_share(self, audio: bytes) -> float:
        """Returns the share of a clip's windows that are music, from 0 to 1.

        The windows are the fewest that cover the clip (:func:`mulan.data.audio.windows.covering_windows`): evenly
        spaced, and padded with silence if the clip is shorter than one window.

        Args:
            audio: Encoded file with the clip.

        Raises:
            DecodeError: The clip cannot be decoded.
            MusicDetectorError: The tagger is a function, and failed.
        """
        windows = covering_windows(audio, self._tagger.window_samples, sample_rate_hz=self._tagger.sample_rate_hz)
        is_music = [
            self._tagger.tag_windows(batch)[:, self._music] >= self._threshold
            for batch in in_batches(windows, WINDOWS_AT_ONCE)
        ]
        return float(np.concatenate(is_music).mean())


def load_detector(config: MusicConfig) -> MusicDetector:
    """Loads the detector that the settings name.

    Files in other storage or on the hub are copied to this machine once, for all of its processes.

    Raises:
        MusicDetectorError: ``tagger`` is empty, has no class of music or several, or names a function that does not
            exist; or there is no GPU here, and ``use_gpu`` is set.
        PretrainedError, ModelFolderError: The folder does not exist, lacks a part, or holds another kind of model.
        StorageError: The storage does not respond.
    """
    tagger = _load_tagger(config)
    music = music_class(config.tagger, tagger.tags)
    return MusicDetector(tagger, music, threshold=config.threshold)


def check_detector(config: MusicConfig) -> str:
    """Checks the detector that the settings name without loading its weights, and describes it in one line.

    The line names the class of music, the windows, and the licence of a pretrained network. Nothing is computed, except
    that a function is called with two windows. Whether there are GPUs is not checked.

    Raises:
        MusicDetectorError, PretrainedError, ModelFolderError, StorageError: As in :func:`load_detector`; also if the
            function fails or does not return a probability.
    """
    found = _describe(config.tagger)
    name = found.tags[music_class(config.tagger, found.tags)]
    line = (
        f"music detector {config.tagger}: class {name} of {len(found.tags)}, windows of "
        f"{found.window_samples / found.sample_rate_hz:g} s at {found.sample_rate_hz} Hz"
    )
    return line if found.licence is None else f"{line}, {found.licence}"


@dataclass(frozen=True)
class _Description:
    """What is known about a tagger without its weights."""

    tags: tuple[str, ...]
    sample_rate_hz: int
    window_samples: int
    licence: Licence | None
    """Licence of the tagger's pretrained network; None if it has none."""


def _describe(tagger: str) -> _Description:
    if names_function(tagger):
        function = FunctionTagger.load(tagger)
        function.check()
        return _Description(function.tags, function.sample_rate_hz, function.window_samples, None)
    folder = tagger_folder(tagger)
    if _is_exported(tagger, folder):
        config = read_tagger_config(ModelFolder(tagger, folder))
        checkpoint = config.checkpoint
        licence = None if checkpoint is None else Licence(checkpoint.licence, checkpoint.licence_text)
        return _Description(config.classes, config.sample_rate_hz, config.window_samples, licence)
    ast = AstCheckpoint.read(tagger, folder)
    return _Description(ast.tags, ast.sample_rate_hz, ast.window_samples, ast.licence)


def _load_tagger(config: MusicConfig) -> WindowTagger:
    if names_function(config.tagger):
        return FunctionTagger.load(config.tagger)
    device = _device(config)
    folder = tagger_folder(config.tagger)
    if _is_exported(config.tagger, folder):
        return Tagger.from_pretrained(folder, device=device)
    return AstTagger.load(AstCheckpoint.read(config.tagger, folder), device=device)


def _device(config: MusicConfig) -> torch.device:
    if config.use_gpu and not torch.cuda.is_available():
        fault = "music.use_gpu is set, but torch sees no GPU here"
        raise MusicDetectorError(config.tagger, fault, "Set music.use_gpu=false, or check the GPUs of this machine.")
    return torch.device("cuda" if config.use_gpu else "cpu")


def tagger_folder(tagger: str) -> Path:
    """Returns the local folder of a tagger that is no function.

    Raises:
        MusicDetectorError: ``tagger`` is empty.
        PretrainedError, StorageError: As in :func:`load_detector`.
    """
    if not tagger:
        raise MusicDetectorError(tagger, "it is empty, so that there is no music detector", _REMEDY)
    return weights_folder(tagger, _FILES)


def _is_exported(tagger: str, folder: Path) -> bool:
    """Returns whether a folder holds a model that mulan exported."""
    with loading(tagger, f"{CONFIG} cannot be read", _REMEDY):
        values = parse_json((folder / CONFIG).read_bytes())
    return isinstance(values, dict) and "format" in values
