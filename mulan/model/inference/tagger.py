"""Exported taggers, which compute the probabilities of tags."""

from collections.abc import Iterable
from typing import Literal, Self, overload

import numpy as np
import torch

from mulan.data.errors import OnError, SkippedRecording
from mulan.model.inference.exported import ExportedModel, build_audio_encoder
from mulan.model.inference.files import (
    CONFIG,
    WEIGHTS,
    EncoderConfig,
    ModelConfig,
    ModelFolder,
    TaggerConfig,
)
from mulan.model.inference.inputs import AudioInput
from mulan.model.tagging import TaggingModel


class Tagger(ExportedModel):
    """A trained tagger (MuLan §3.2): an audio encoder with a classifier, whose classes are the tags of its corpus.

    It computes in float32 and deterministically. Every recording is tagged in forward passes of its own, so its
    probabilities are bitwise independent of the other recordings in the call. A recording may have any number of tags:
    their probabilities are independent of each other.
    """

    def __init__(self, model: TaggingModel, config: TaggerConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._model, self._tags = model.to(device).eval(), config.classes

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> Self:
        config = read_tagger_config(folder)
        with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged; the weights are replaced
            model = TaggingModel(build_audio_encoder(folder, config), classes=len(config.classes))
        folder.load_weights(model)
        return cls(model, config, device)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns of probabilities, such as ``audioset:Music``."""
        return self._tags

    def tag_windows(self, waveform: np.ndarray) -> np.ndarray:
        """Computes the probabilities of the tags of windows, int16 [n, window_samples], as float32 [n, classes].

        Windows are batched, so a probability can change by about 1e-6 with the other windows in its batch.

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
        """
        return self._vectors_of_windows("tag_windows", waveform)

    @overload
    def tag_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: Literal["raise"] = "raise",
    ) -> np.ndarray: ...

    @overload
    def tag_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: Literal["skip"],
    ) -> tuple[np.ndarray, list[SkippedRecording]]: ...

    def tag_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: OnError = "raise",
    ) -> np.ndarray | tuple[np.ndarray, list[SkippedRecording]]:
        """Tags recordings: each probability is the mean over the fewest windows that cover the recording.

        The windows, the arguments and the errors are those of
        :meth:`mulan.model.inference.exported.AudioEmbedder.embed_audio`.

        Returns:
            float32 [N, classes], in the order of the items. With ``"skip"``, a tuple of the rows of the items that were
            tagged, and a list of the skipped ones.

        Raises:
            EmbeddingInputError: As in ``embed_audio``.
            DecodeError: As in ``embed_audio``.
        """
        return self._mean_vectors("tag_audio", paths_or_arrays, sample_rate_hz, on_error)

    @property
    def _vector_size(self) -> int:
        return len(self._tags)

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(windows.unsqueeze(1))
        return logits.sigmoid()


_JOINT, _ENCODER = (config.model_fields["format"].default for config in (ModelConfig, EncoderConfig))
_OTHER_FORMATS = {
    _JOINT: "it is a joint model of audio and text, which has no classes; load it with mulan.MuLan",
    _ENCODER: "it is an audio encoder, which has no classes; load it with mulan.AudioBackbone",
}
"""Explanations for exported models of other formats."""


def read_tagger_config(folder: ModelFolder) -> TaggerConfig:
    """Reads the configuration of an exported tagger, without its weights.

    Raises:
        ModelFolderError: The folder is incomplete, contains another kind of model, or its configuration is invalid.
    """
    folder.refuse(_OTHER_FORMATS)
    folder.require(CONFIG, WEIGHTS)
    return folder.config(TaggerConfig)
