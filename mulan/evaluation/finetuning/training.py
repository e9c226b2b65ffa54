"""End-to-end training of an audio network with a linear head, by the validation split alone.

MuLaP (§4.1) trains the same network from scratch for its supervised baseline, and states no settings of its own for
that; those of its probes (§3.2) are used where they fit: Adam, random windows, weight decay of 0.01, a learning rate
that falls when the validation metric stops rising, early stopping on it, and the mean of the predictions for a
recording's windows. MuLan cites end-to-end baselines (table 4d). What differs, and what the papers do not state, are
the defaults of :class:`EndToEndSettings`. Gradients are clipped, and vectors have no weight decay, as in pretraining.

Batch norm is trained like the rest: it normalises each batch of training by the batch's own statistics, and updates the
running statistics that the exported model had, or those of a random network. Predictions use the running statistics, so
that they depend on no other recording. Batches have about equal sizes, and an epoch has enough of them, so that the
running statistics follow the weights. SpecAugment and dropout act as the exported configuration states them; the
augmentation of waveforms is no part of it.

Everything is computed in float32 by deterministic kernels, so that the same job has the same result on one machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mulan.evaluation.finetuning.audio import AudioRecordings
from mulan.evaluation.finetuning.network import end_to_end_network
from mulan.evaluation.probes.mlp import ACTIVATIONS, LOSSES, truth_tensor
from mulan.evaluation.probes.probe import ProbeData
from mulan.model.deterministic import deterministic_kernels
from mulan.model.inference.exported import float32_convolutions

THREADS_ON_GPU = 8
"""Number of threads that read and decode for a GPU; a job on the CPU has one CPU, and reads in one thread."""

_PROMISE = "fine-tuning promises the same scores each time; leave out --finetune, or fine-tune on another device"


@dataclass(frozen=True)
class EndToEndSettings:
    """How networks are trained end to end."""

    learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    """Initial learning rates, of which the one with the highest quality on the validation split is kept; of equal ones
    the first. MuLaP's probes have 1e-3, which may destroy the pretrained weights of deep networks."""
    batch_size: int = 32
    """Number of windows in a batch, half of MuLaP's: windows of 10 s need more memory than its 3 s."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices."""
    max_gradient_norm: float = 1.0
    """Norm that gradients are clipped to."""
    min_batches: int = 20
    """Minimum number of batches in an epoch: it sees every recording once, or as often as needed, in other windows."""
    max_epochs: int = 100
    """Maximum number of epochs."""
    plateau_epochs: int = 3
    """The learning rate is halved when the quality has not risen for more epochs than this."""
    patience_epochs: int = 10
    """Training ends when the quality has not risen for so many epochs."""
    validation_windows: int = 4
    """Maximum number of windows of a recording that are predicted for the validation of an epoch, evenly spaced."""


@dataclass(frozen=True, eq=False)
class EndToEndJob:
    """What is trained, on which recordings; it is picklable, and has no labels of those that are scored."""

    model_uri: str
    """Path or URI of the exported model."""
    from_scratch: bool
    """Whether the encoder has random weights at first, instead of the exported ones."""
    data: ProbeData
    """Truth of the training and validation splits, and the quality. Its vectors are not used."""
    train: AudioRecordings
    """The recordings of ``data.train``."""
    validation: AudioRecordings
    """The recordings of ``data.validation``."""
    scored: AudioRecordings
    """Recordings to predict."""
    settings: EndToEndSettings
    """How it is trained."""


@dataclass(frozen=True)
class FinishedEpoch:
    """Progress of a training."""

    learning_rate: float
    """Initial learning rate of the training."""
    epoch: int
    """Number of the epoch, from 1."""
    quality: float
    """Its quality on the validation split; minus infinity if it is undefined."""
    best_epoch: int
    """The epoch with the highest quality so far."""

    def __str__(self) -> str:
        """Returns it in words, for progress."""
        place = f"learning rate {self.learning_rate:g}, epoch {self.epoch}"
        best = ", the best so far" if self.epoch == self.best_epoch else ""
        return f"{place}: {self.quality:.4f} on the validation split{best}"


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The result of a training, of the epoch with the highest quality."""

    learning_rate: float
    """Initial learning rate."""
    epoch: int
    """Number of the epoch, from 1."""
    quality: float
    """Its quality on the validation split; minus infinity if it is undefined."""
    predictions: np.ndarray
    """Predictions for the recordings that are scored, float64 [recordings, outputs]; not finite if training
    diverged."""


def train_end_to_end(job: EndToEndJob, learning_rate: float, device: str) -> Iterator[FinishedEpoch | TrainedNetwork]:
    """Trains a network, and yields each epoch, and at last the result.

    Settings of torch's kernels are changed until the iterator ends.

    Args:
        job: What is trained.
        learning_rate: Initial learning rate.
        device: ``cpu`` or ``cuda``.

    Raises:
        ModelFolderError, EvaluationError: The model, or a recording, cannot be read any more.
        NotDeterministic: An operation of the network has no deterministic kernel on the device.
        StorageError, StoragePermanentError: A storage failed.
    """
    generators = [torch.cuda.current_device()] if device == "cuda" else []
    with (
        torch.random.fork_rng(devices=generators),
        deterministic_kernels(True, promise=_PROMISE),
        float32_convolutions(),
    ):
        training = _Training(job, learning_rate, torch.device(device))
        best: tuple[FinishedEpoch, dict[str, Tensor]] | None = None
        for epoch in range(1, job.settings.max_epochs + 1):
            training.epoch()
            predicted = training.predict(job.validation, at_most=job.settings.validation_windows)
            is_finite = bool(np.isfinite(predicted).all())
            quality = job.data.quality_of(predicted) if is_finite else float("-inf")
            if best is None or (is_finite and quality > best[0].quality):
                best = FinishedEpoch(learning_rate, epoch, quality, epoch), training.weights()
            yield FinishedEpoch(learning_rate, epoch, quality, best[0].epoch)
            if not is_finite or epoch - best[0].epoch >= job.settings.patience_epochs:
                break
            training.plateau.step(quality)
        assert best is not None
        training.network.load_state_dict(best[1])
        yield TrainedNetwork(learning_rate, best[0].epoch, best[0].quality, training.predict(job.scored))


class _Training:
    """A network while it is trained."""

    def __init__(self, job: EndToEndJob, learning_rate: float, device: torch.device) -> None:
        self._job, self._device, settings = job, device, job.settings
        self._threads = 1 if device.type == "cpu" else THREADS_ON_GPU
        self.network = end_to_end_network(
            job.model_uri, outputs=job.data.outputs, from_scratch=job.from_scratch, seed=job.data.seed
        ).to(device)
        self._optimizer = torch.optim.AdamW(_parameter_groups(self.network, settings.weight_decay), lr=learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer,
            mode="max",
            factor=0.5,
            patience=settings.plateau_epochs,
            threshold=0,
            threshold_mode="abs",
        )
        self._truth = truth_tensor(job.data.train, job.data.kind)
        self._rng = np.random.default_rng(job.data.seed)
        torch.manual_seed(job.data.seed)  # of SpecAugment and dropout

    def epoch(self) -> None:
        """Trains one epoch."""
        self.network.train()
        batches = _batches(len(self._job.train.recordings), self._job.settings, self._rng)
        for windows, numbers in self._job.train.random_windows(batches, threads=self._threads):
            truth = self._truth[torch.from_numpy(numbers)].to(self._device)
            self._optimizer.zero_grad()
            torch.autograd.backward(LOSSES[self._job.data.kind](self._outputs(windows), truth))
            nn.utils.clip_grad_norm_(self.network.parameters(), self._job.settings.max_gradient_norm)
            self._optimizer.step()

    @torch.inference_mode()
    def predict(self, audio: AudioRecordings, *, at_most: int | None = None) -> np.ndarray:
        """Returns the mean prediction over the windows of each recording, float64 [recordings, outputs]."""
        self.network.eval()
        sums = np.zeros((len(audio.recordings), self._job.data.outputs))
        for windows, numbers in audio.covering_windows(threads=self._threads, at_most=at_most):
            # probabilities close to 1 would be equal in float32
            predicted = ACTIVATIONS[self._job.data.kind](self._outputs(windows).double())
            np.add.at(sums, numbers, predicted.cpu().numpy())
        return sums / audio.counts_of(at_most)[:, None]

    def weights(self) -> dict[str, Tensor]:
        """Returns a copy of the weights and running statistics, on the CPU."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self.network.state_dict().items()}

    def _outputs(self, windows: np.ndarray) -> Tensor:
        outputs: Tensor = self.network(torch.from_numpy(windows).to(self._device).unsqueeze(1))
        return outputs


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _batches(
    recordings: int, settings: EndToEndSettings, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the recordings of each batch of an epoch, and the positions of their windows in [0, 1)."""
    passes = max(1, math.ceil(settings.min_batches * settings.batch_size / recordings))
    order = np.concatenate([rng.permutation(recordings) for _ in range(passes)])
    parts = math.ceil(len(order) / settings.batch_size)
    return list(zip(np.array_split(order, parts), np.array_split(rng.random(len(order)), parts), strict=True))
