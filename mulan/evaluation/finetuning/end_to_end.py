"""Networks that are trained end to end in place of the heads of probes, with the same recordings and scores."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import SPLITS
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.windows import Windowing
from mulan.evaluation.encoders import exported
from mulan.evaluation.encoders.audio_only import AudioOnlyEncoder
from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo
from mulan.evaluation.encoders.untrained import open_untrained
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.audio import AudioRecordings
from mulan.evaluation.finetuning.prediction_file import (
    NetworkPredictions,
    UnusablePredictionFile,
    read_predictions,
    write_predictions,
)
from mulan.evaluation.finetuning.training import EndToEndJob, EndToEndSettings, TrainedNetwork
from mulan.evaluation.probes.probe import FittedProbe, LabelledVectors, ProbeData, ProbeTraining
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.storage import filesystem

FOLDER = "predictions"
"""Name of the folder of the predictions, in the folder of a report."""
_VERSION = 1
"""Increased when the same key would stand for other predictions."""
_KEY_LENGTH = 16
_NAME_LENGTH = 60

TrainCandidates = Callable[[EndToEndJob], Sequence[TrainedNetwork]]
"""Trains a network with each learning rate, such as a partial of
:func:`mulan.evaluation.finetuning.on_ray.train_on_ray`."""


@dataclass(frozen=True)
class StartingNetwork:
    """An audio network before it is trained end to end."""

    model: EncoderInfo
    """The exported model."""
    from_scratch: bool
    """Whether the network has random weights instead of the model's."""

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"{self.model.name} from scratch" if self.from_scratch else f"fine-tuned {self.model.name}"

    def encoder(self) -> AudioOnlyEncoder:
        """Returns an encoder that stands for the network in reports, with the digest of its first weights.

        It embeds nothing: a network that is trained end to end has other vectors for each set of labels.

        Raises:
            ModelFolderError: The model's folder does not exist any more.
            StorageError: The storage does not respond.
        """
        info = open_untrained(self.model.uri, name=self.name, device="cpu").info
        if self.from_scratch:
            return AudioOnlyEncoder(replace(info, kind="from scratch"), self._no_vectors)
        info = replace(info, kind="fine-tuned", sha256=self.model.sha256, licence=self.model.licence)
        return AudioOnlyEncoder(info, self._no_vectors)

    def _no_vectors(self, windows: np.ndarray) -> np.ndarray:
        raise EncoderError(f"{self.name} is trained anew for each set of labels, and has no vectors")


def starting_networks(model: EncoderInfo, *, with_scratch: bool) -> list[StartingNetwork]:
    """Returns the networks to train end to end.

    Args:
        model: A model of the report.
        with_scratch: Whether also the same network with random weights is trained.

    Raises:
        EvaluationError: It is no audio network that mulan exported.
    """
    if model.kind != exported.KIND or not model.embeds_audio:
        raise EvaluationError(f"a model of kind {model.kind} cannot be fine-tuned, only one that mulan exported")
    return [StartingNetwork(model, from_scratch) for from_scratch in ((False, True) if with_scratch else (False,))]


@dataclass(frozen=True, eq=False)
class EndToEnd:
    """Trains a network on a corpus, once for each set of labels: predictions are kept in files."""

    start: StartingNetwork
    """The network."""
    corpus: Corpus
    """The corpus."""
    scored: EmbeddedRecordings
    """Recordings of the split that is scored, which the exported model has embedded."""
    folder_uri: str
    """Folder of the files of predictions."""
    train: TrainCandidates
    """Trains networks."""
    device: str
    """Kind of the device, on which results depend: ``cpu`` or ``cuda``."""
    settings: EndToEndSettings
    """How it is trained."""
    on_message: Callable[[str], None]
    """Called with a line about each file that is used, or that cannot be."""

    def training(self) -> ProbeTraining:
        """Returns what protocols train in place of heads."""
        first = "random weights" if self.start.from_scratch else f"the weights of {self.start.model.name}"
        rates = " or ".join(f"{rate:g}" for rate in self.settings.learning_rates)
        return ProbeTraining(
            "end to end",
            f"Audio network with a linear head, trained end to end from {first}: AdamW with batches of "
            f"{self.settings.batch_size} random windows, an initial learning rate of {rates} and early stopping, mean "
            "of the predictions for a recording's windows, one initialisation",
            self.fit,
        )

    def fit(self, data: ProbeData) -> FittedProbe:
        """Trains the network, or finds its predictions of an earlier evaluation.

        Raises:
            EvaluationError: Training diverged with all learning rates, or a recording cannot be read any more.
            MulanError: As ``train`` raises it.
        """
        names = tuple(each.recording_id for each in self.scored.recordings)
        computed_from = self._computed_from(data, names)
        ending = f"-{computed_from['key'][:_KEY_LENGTH]}.parquet"
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", self.start.name)[:_NAME_LENGTH].strip("-")
        # the name of a model depends on which models are evaluated together
        kept = next((name for name in filesystem.names_in(self.folder_uri) if name.endswith(ending)), "")
        uri = filesystem.join(self.folder_uri, kept or f"{label}{ending}")
        predictions = None
        if kept:
            try:
                predictions = read_predictions(uri, computed_from=computed_from, recording_ids=names)
                self.on_message(f"{uri}: {len(names)} recordings, predicted before")
            except UnusablePredictionFile as error:
                self.on_message(f"{error}; the network is trained again")
        if predictions is None:
            best, qualities = self._best(self._job(data))
            chosen = {
                "learning_rate": best.learning_rate,
                "epoch": best.epoch,
                "validation_quality": _finite(best.quality),
                "candidates": qualities,
            }
            predictions = NetworkPredictions(names, best.predictions, chosen)
            write_predictions(uri, predictions, computed_from)
        rows, values = {name: row for row, name in enumerate(names)}, predictions.values
        return FittedProbe(
            lambda audio: values[None, [rows[each.recording_id] for each in audio.recordings]], predictions.chosen
        )

    def _best(self, job: EndToEndJob) -> tuple[TrainedNetwork, dict[str, float | None]]:
        """Returns the network with the highest quality, of equal ones the first, and the quality of each rate."""
        networks = self.train(job)
        usable = [each for each in networks if np.isfinite(each.predictions).all()]
        if not usable:
            raise EvaluationError(f"{self.start.name}: training diverged with all learning rates")
        best = max(usable, key=lambda each: each.quality)
        return best, {f"{each.learning_rate:g}": _finite(each.quality) for each in networks}

    def _job(self, data: ProbeData) -> EndToEndJob:
        model = self.start.model
        present = [split for split in SPLITS if len(self.corpus.rows(split))]
        indexed = {each.recording_id: each for each in indexed_recordings(self.corpus, present)}
        windowing = Windowing(model.sample_rate_hz, model.window_samples)
        train, validation, scored = (
            AudioRecordings.of(audio, indexed, windowing)
            for audio in (data.train.audio, data.validation.audio, self.scored)
        )
        without_vectors = replace(
            data, train=_without_vectors(data.train), validation=_without_vectors(data.validation)
        )
        return EndToEndJob(
            model.uri, self.start.from_scratch, without_vectors, train, validation, scored, self.settings
        )

    def _computed_from(self, data: ProbeData, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns what is written to a file: its key, and everything that the key stands for."""
        key = {
            "version": _VERSION,
            "model_sha256": self.start.model.sha256,
            "from_scratch": self.start.from_scratch,
            "index_sha256": self.corpus.index_sha256,
            "kind": data.kind,
            "outputs": data.outputs,
            "quality": data.quality.__name__,
            "seed": data.seed,
            "train_sha256": _labels_sha256(data.train),
            "validation_sha256": _labels_sha256(data.validation),
            "scored_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
            "settings": {**asdict(self.settings), "learning_rates": list(self.settings.learning_rates)},
            "torch": torch.__version__,
            "device": self.device,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return {"key": digest, **key, "model": self.start.model.uri, "corpus": self.corpus.uri}


def _labels_sha256(labelled: LabelledVectors) -> str:
    """Returns the digest of recordings, and of what is to be predicted of them."""
    digest = hashlib.sha256("\n".join(each.recording_id for each in labelled.audio.recordings).encode())
    digest.update(f"{labelled.truth.dtype} {labelled.truth.shape}".encode())
    digest.update(np.ascontiguousarray(labelled.truth).tobytes())
    return digest.hexdigest()


def _without_vectors(labelled: LabelledVectors) -> LabelledVectors:
    """Returns recordings with only their ids, splits and truth, since vectors need not be sent to other processes."""
    recordings = tuple(LabelledRecording(each.recording_id, each.split) for each in labelled.audio.recordings)
    windows = np.zeros((labelled.audio.num_windows, 0), np.float32)
    return LabelledVectors(EmbeddedRecordings(recordings, windows, labelled.audio.starts, False), labelled.truth)


def _finite(quality: float) -> float | None:
    return quality if np.isfinite(quality) else None
