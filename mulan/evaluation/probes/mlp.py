"""MuLaP's probe (§3.2-3.3): a multilayer perceptron on the vectors of windows.

Where the paper speaks it is followed: hidden layer of 512, 200 epochs, Adam with a learning rate of 0.001,
minibatches of 64, weight decay of 0.01, early stopping, three initialisations, mean predictions. The rest is chosen:

* The learning rate is "reduced linearly when the validation metric stops improving", the paper says, but neither by how
  much nor after how long. It is halved after ten epochs, and early stopping waits 50, both as in the authors' code.
  (Their settings have another weight decay, 0.001, except for Emomusic, and there a hidden layer of 1,024.)
* An epoch of the paper has a random crop of 3 s of each recording. Here it has one random window of the grid that
  covers the recording, since vectors are computed once; of the length of the encoder's, which is 10 s for MuLan.
* Vectors are standardised, which the paper does not mention: learning rate and weight decay would otherwise mean
  something else for every encoder, such as one with unit vectors.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mulan.evaluation.metrics.retrieval import rounded
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
_WINDOWS_AT_ONCE = 1024
_FEW_WINDOWS = 64

LOSSES: dict[TargetKind, Callable[[Tensor, Tensor], Tensor]] = {
    "tags": functional.binary_cross_entropy_with_logits,
    "class": functional.cross_entropy,
    "numbers": functional.mse_loss,
}
"""The loss of outputs and truth."""
ACTIVATIONS: dict[TargetKind, Callable[[Tensor], Tensor]] = {
    "tags": torch.sigmoid,
    "class": lambda logits: functional.log_softmax(logits, dim=1),
    "numbers": lambda outputs: outputs,
}
"""The function of a window's outputs, float64 [windows, outputs], of which the mean over a recording is predicted."""


def fit_mlp(data: ProbeData) -> FittedProbe:
    """Trains a perceptron with one hidden layer of 512 on the standardised vectors of windows, three times.

    Each epoch sees one random window of each recording, like the random crops of the paper. The prediction for a
    recording is the mean over its windows of the probability of a tag, the logarithm of that of a class, or a number.
    The weights of the epoch with the highest quality on the validation split are kept. It runs on the CPU, which such
    small batches keep as busy as a GPU, so that its numbers do not depend on whether there is one.
    """
    scaling = _Scaling.of(data.train.audio)
    runs = [_train(data, scaling, run) for run in range(RUNS)]

    def predict(audio: EmbeddedRecordings) -> np.ndarray:
        return np.stack([_predict(run.network, scaling, audio, data) for run in runs])

    chosen = {
        "epoch": [run.epoch for run in runs],
        "learning_rate": [run.learning_rate for run in runs],
        "validation_quality": [run.quality if np.isfinite(run.quality) else None for run in runs],
    }
    return FittedProbe(predict, chosen)


@dataclass(frozen=True, eq=False)
class _Scaling:
    """Standardises windows with the mean and deviation of those of the training split, a batch at a time."""

    mean: Tensor
    """float64 [d]."""
    deviation: Tensor
    """float64 [d]; 1 where windows do not vary."""

    @classmethod
    def of(cls, audio: EmbeddedRecordings) -> "_Scaling":
        mean, squares = np.zeros(audio.dim), np.zeros(audio.dim)
        for first in range(0, audio.num_windows, _WINDOWS_AT_ONCE):
            mean += audio.windows_at(slice(first, first + _WINDOWS_AT_ONCE)).sum(axis=0, dtype=np.float64)
        mean /= audio.num_windows
        for first in range(0, audio.num_windows, _WINDOWS_AT_ONCE):
            squares += ((audio.windows_at(slice(first, first + _WINDOWS_AT_ONCE)) - mean) ** 2).sum(axis=0)
        deviation = np.where(squares > 0, np.sqrt(squares / audio.num_windows), 1)
        return cls(torch.from_numpy(mean), torch.from_numpy(deviation))

    def __call__(self, audio: EmbeddedRecordings, numbers: np.ndarray) -> Tensor:
        """Returns windows by their numbers, float32 [number of them, d]."""
        windows = torch.from_numpy(audio.windows_at(numbers))
        return ((windows.double() - self.mean) / self.deviation).float()


@dataclass(frozen=True, eq=False)
class _Run:
    """A trained network, of the epoch with the highest quality."""

    network: nn.Module
    epoch: int
    learning_rate: float
    quality: float


def _train(data: ProbeData, scaling: _Scaling, run: int) -> _Run:
    audio = data.train.audio
    network = _network(audio.dim, data.outputs, seed=data.seed * RUNS + run)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=PLATEAU_EPOCHS, threshold=0, threshold_mode="abs"
    )
    truth = truth_tensor(data.train, data.kind)
    rng = np.random.default_rng([data.seed, run])
    best = _Run(network, 0, LEARNING_RATE, float("-inf"))
    for epoch in range(1, MAX_EPOCHS + 1):
        learning_rate = optimizer.param_groups[0]["lr"]
        for recordings, numbers in _batches(audio.starts, rng):
            optimizer.zero_grad()
            torch.autograd.backward(LOSSES[data.kind](network(scaling(audio, numbers)), truth[recordings]))
            optimizer.step()
        quality = data.quality_of(_predict(network, scaling, data.validation.audio, data))
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


def truth_tensor(labelled: LabelledVectors, kind: TargetKind) -> Tensor:
    """Returns the truth as the losses need it: float32 [recordings, outputs], or int64 [recordings] for classes."""
    return torch.from_numpy(labelled.truth.astype(np.int64 if kind == "class" else np.float32))


def _batches(starts: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the recordings of each batch of an epoch, and the number of a random window of each of them."""
    order = rng.permutation(len(starts) - 1)
    numbers = starts[order] + np.floor(rng.random(len(order)) * np.diff(starts)[order]).astype(np.int64)
    for first in range(0, len(order), BATCH_SIZE):
        yield order[first : first + BATCH_SIZE], numbers[first : first + BATCH_SIZE]


@torch.inference_mode()
def _predict(network: nn.Module, scaling: _Scaling, audio: EmbeddedRecordings, data: ProbeData) -> np.ndarray:
    """Returns the mean prediction over the windows of each recording, float64 [recordings, outputs].

    Recordings whose windows are all equal get equal predictions, however many windows they have.
    """
    starts, sums = audio.starts, np.zeros((len(audio.recordings), data.outputs))
    for first, last, numbers in _equal_blocks(audio.num_windows):
        # probabilities close to 1 would be equal in float32
        outputs = ACTIVATIONS[data.kind](network(scaling(audio, numbers)).double())[: last - first].numpy()
        some = slice(np.searchsorted(starts, first, side="right") - 1, np.searchsorted(starts, last))
        sums[some] += np.add.reduceat(outputs, np.maximum(starts[some] - first, 0), axis=0)
    return rounded(sums / np.diff(starts)[:, None])


def _equal_blocks(windows: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields blocks of the numbers of windows: the first, the one after the last, and the numbers.

    All blocks have the same size, the last one being filled up with its last window, since products of matrices of
    different sizes, or of a few rows, round equal rows differently.
    """
    size = min(_WINDOWS_AT_ONCE, -(-windows // _FEW_WINDOWS) * _FEW_WINDOWS)
    for first in range(0, windows, size):
        yield first, min(first + size, windows), np.minimum(np.arange(first, first + size), windows - 1)
