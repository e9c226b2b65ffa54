"""MuLaP's probe (§3.2–3.3): a multilayer perceptron on the vectors of windows.

The paper does not state the rule of the plateau, and neither how long early stopping waits; both are constants here.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mulan.evaluation.probes.probe import FittedProbe, LabelledVectors, ProbeData, TargetKind
from mulan.evaluation.recordings import EmbeddedRecordings

HIDDEN_SIZE = 512
LEARNING_RATE = 1e-3
BATCH_SIZE = 64
WEIGHT_DECAY = 0.01
MAX_EPOCHS = 200
RUNS = 3
"""Number of random initialisations, of which scores are averaged."""
PLATEAU_EPOCHS = 10
"""The learning rate is halved when the quality has not risen for more epochs than this."""
PATIENCE_EPOCHS = 50
"""Training ends when the quality has not risen for so many epochs."""
_WINDOWS_AT_ONCE = 16_384

_LOSSES: dict[TargetKind, Callable[[Tensor, Tensor], Tensor]] = {
    "tags": functional.binary_cross_entropy_with_logits,
    "class": functional.cross_entropy,
    "numbers": functional.mse_loss,
}
_ACTIVATIONS: dict[TargetKind, Callable[[Tensor], Tensor]] = {
    "tags": torch.sigmoid,
    "class": lambda logits: functional.log_softmax(logits, dim=1),
    "numbers": lambda outputs: outputs,
}


def fit_mlp(data: ProbeData) -> FittedProbe:
    """Trains a perceptron with one hidden layer of 512 on the standardised vectors of windows, three times.

    Each epoch sees one random window of each recording, like the random crops of the paper. The prediction for a
    recording is the mean over its windows of the probability of a tag, the logarithm of that of a class, or a number.
    The weights of the epoch with the highest quality on the validation split are kept. It runs on a GPU if there is
    one; its numbers are the same in every call on the same kind of device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    windows = data.train.audio.windows
    mean, deviation = windows.mean(axis=0, dtype=np.float64), windows.std(axis=0, dtype=np.float64)
    scaling = _Scaling(mean, np.where(deviation > 0, deviation, 1), device)
    runs = [_train(data, scaling, run) for run in range(RUNS)]

    def predict(audio: EmbeddedRecordings) -> np.ndarray:
        return np.stack([_predict(run.network, scaling(audio), audio.starts, data.kind) for run in runs])

    chosen = {
        "epoch": [run.epoch for run in runs],
        "learning_rate": [run.learning_rate for run in runs],
        "validation_quality": [run.quality if np.isfinite(run.quality) else None for run in runs],
    }
    return FittedProbe(predict, chosen)


@dataclass(frozen=True, eq=False)
class _Scaling:
    """Standardises windows with the mean and deviation of those of the training split."""

    mean: np.ndarray
    deviation: np.ndarray
    device: torch.device

    def __call__(self, audio: EmbeddedRecordings) -> Tensor:
        scaled = ((audio.windows - self.mean) / self.deviation).astype(np.float32)
        return torch.from_numpy(scaled).to(self.device)


@dataclass(frozen=True, eq=False)
class _Run:
    """A trained network, of the epoch with the highest quality."""

    network: nn.Module
    epoch: int
    learning_rate: float
    quality: float


def _train(data: ProbeData, scaling: _Scaling, run: int) -> _Run:
    network = _network(data.train.audio.windows.shape[1], data.outputs, seed=data.seed * RUNS + run).to(scaling.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=PLATEAU_EPOCHS, threshold=0, threshold_mode="abs"
    )
    windows, held_out = scaling(data.train.audio), scaling(data.validation.audio)
    truth = _as_tensor(data.train, data.kind).to(scaling.device)
    rng = np.random.default_rng([data.seed, run])
    best = _Run(network, 0, LEARNING_RATE, float("-inf"))
    for epoch in range(1, MAX_EPOCHS + 1):
        learning_rate = optimizer.param_groups[0]["lr"]
        for recordings, rows in _batches(data.train.audio.starts, rng):
            optimizer.zero_grad()
            torch.autograd.backward(_LOSSES[data.kind](network(windows[rows]), truth[recordings]))
            optimizer.step()
        quality = data.quality_of(_predict(network, held_out, data.validation.audio.starts, data.kind))
        plateau.step(quality)
        if quality > best.quality or epoch == 1:
            best = _Run(copy.deepcopy(network), epoch, learning_rate, quality)
        elif epoch - best.epoch >= PATIENCE_EPOCHS:
            break
    return best


def _network(dim: int, outputs: int, *, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(dim, HIDDEN_SIZE), nn.ReLU(), nn.Linear(HIDDEN_SIZE, outputs))


def _as_tensor(labelled: LabelledVectors, kind: TargetKind) -> Tensor:
    return torch.from_numpy(labelled.truth.astype(np.int64 if kind == "class" else np.float32))


def _batches(starts: np.ndarray, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    """Returns the recordings of each batch of an epoch, and the row of a random window of each of them."""
    order = rng.permutation(len(starts) - 1)
    rows = starts[order] + np.floor(rng.random(len(order)) * np.diff(starts)[order]).astype(np.int64)
    recordings, chosen = torch.from_numpy(order), torch.from_numpy(rows)
    return list(zip(torch.split(recordings, BATCH_SIZE), torch.split(chosen, BATCH_SIZE), strict=True))


@torch.inference_mode()
def _predict(network: nn.Module, windows: Tensor, starts: np.ndarray, kind: TargetKind) -> np.ndarray:
    """Returns the mean prediction over the windows of each recording, float64 [recordings, outputs]."""
    # probabilities close to 1 would be equal in float32
    parts = [_ACTIVATIONS[kind](network(part).double()).cpu() for part in torch.split(windows, _WINDOWS_AT_ONCE)]
    return np.add.reduceat(torch.cat(parts).numpy(), starts[:-1], axis=0) / np.diff(starts)[:, None]
