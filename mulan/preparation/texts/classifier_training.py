"""Training of the classifier of long-form texts: cross-validation, the threshold, and the final network."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import StratifiedKFold
from torch.nn.functional import cross_entropy

from mulan.config.errors import MulanError
from mulan.model.towers.pretrained_networks import quiet_transformers
from mulan.preparation.texts.classifier import (
    DESCRIPTION,
    FORMAT_VERSION,
    TextClassifier,
    encoded,
    load_sequence_classifier,
    load_tokenizer,
)
from mulan.preparation.texts.labels import LabelledTexts
from mulan.storage import filesystem
from mulan.storage.hub import TEXT_ENCODER, PretrainedError, RequiredFiles, loading
from mulan.storage.weights_cache import weights_folder

_ENCODER = RequiredFiles("--pretrained", TEXT_ENCODER.parts, TEXT_ENCODER.optional)
_REMEDY = "Give --pretrained a BERT-type encoder: network and tokenizer in one folder, as save_pretrained writes them."


class PrecisionNotReached(MulanError):
    """Raised when no threshold has the wanted precision on texts that were not trained on."""


@dataclass(frozen=True, kw_only=True)
class FilterTraining:
    """How a classifier is trained."""

    pretrained: str
    """BERT-type encoder that is fine-tuned: a folder, its URI, ``hub:OWNER/NAME`` or ``python:PACKAGE/FOLDER``."""
    precision: float = 0.9
    """Wanted precision, from 0 to 1, of the texts that are kept."""
    folds: int = 5
    """Number of folds of the cross-validation, 2 or more."""
    epochs: int = 4
    """Number of passes over the texts."""
    batch_size: int = 16
    """Number of texts in a step."""
    learning_rate: float = 5e-5
    """Maximum learning rate of AdamW, reached after a tenth of the steps and followed by a linear decay to 0."""
    max_tokens: int = 64
    """Maximum number of tokens of a text."""
    seed: int = 0
    """Seed of folds, initial weights, order and dropout."""
    device: str = "cpu"
    """Device of torch. Results have the same bits on the same kind of device."""


@dataclass(frozen=True)
class FoldScore:
    """Precision and recall at the chosen threshold, on texts that were not trained on."""

    texts: int
    """Number of texts."""
    precision: float
    """Share of the kept texts that describe music; 1 if none is kept."""
    recall: float
    """Share of the texts that describe music that are kept."""


@dataclass(frozen=True)
class TrainedFilter:
    """A trained classifier and how good it is."""

    classifier: TextClassifier
    """The classifier, trained on all texts, with the threshold."""
    folds: tuple[FoldScore, ...]
    """Scores of each fold, of a network that was trained on the other folds."""
    overall: FoldScore
    """Scores of all texts, each by the network that was not trained on it. The threshold was chosen on the same
    probabilities, so that these are slightly optimistic."""


def train_filter(
    labelled: LabelledTexts, training: FilterTraining, progress: Callable[[str], None] = lambda line: None
) -> TrainedFilter:
    """Trains a classifier on labelled texts.

    One network is trained for each fold, without its texts. From their probabilities, the threshold is chosen that has
    the wanted precision and keeps the most texts. The network that is returned is trained on all texts.

    Args:
        progress: Called with a line after each fold.

    Raises:
        PretrainedError: The pretrained encoder cannot be used.
        PrecisionNotReached: No threshold has the wanted precision.
    """
    labels = np.asarray(labelled.labels)
    probabilities = np.zeros(len(labels))
    splits = StratifiedKFold(training.folds, shuffle=True, random_state=training.seed)
    tests = [test for _, test in splits.split(np.zeros(len(labels)), labels)]
    for number, test in enumerate(tests, 1):
        is_trained = np.ones(len(labels), bool)
        is_trained[test] = False
        classifier = _trained(labelled, np.flatnonzero(is_trained), training, number)
        probabilities[test] = classifier.probabilities([labelled.texts[index] for index in test])
        progress(f"fold {number} of {training.folds}: {len(test)} texts classified")
    threshold = choose_threshold(labels, probabilities, training.precision)
    classifier = _trained(labelled, np.arange(len(labels)), training, 0)
    classifier.threshold = threshold
    folds = tuple(score(labels[test], probabilities[test] >= threshold) for test in tests)
    return TrainedFilter(classifier, folds, score(labels, probabilities >= threshold))


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray, precision: float) -> float:
    """Returns the threshold with at least the wanted precision that keeps the most texts that describe music.

    Of several that keep the same of them, it is the highest.

    Args:
        labels: Whether each text describes music, bool [N].
        probabilities: Probability of each text, by a network that was not trained on it, float64 [N].
        precision: Wanted precision, from 0 to 1.

    Raises:
        PrecisionNotReached: No threshold has this precision.
    """
    precisions, recalls, thresholds = precision_recall_curve(labels, probabilities)
    reached = np.flatnonzero((precisions[:-1] >= precision) & (recalls[:-1] > 0))
    if not len(reached):
        best = int(np.argmax(np.where(recalls[:-1] > 0, precisions[:-1], -1)))
        raise PrecisionNotReached(
            f"no threshold has a precision of {precision:g}: the best is {precisions[best]:.3f}, with a recall of "
            f"{recalls[best]:.3f}; label more texts, check the labels, or give a lower --precision"
        )
    most = reached[recalls[reached] == recalls[reached].max()]
    return float(thresholds[most[-1]])  # thresholds ascend: of those with this recall, the last has the best precision


def score(labels: np.ndarray, kept: np.ndarray) -> FoldScore:
    """Returns precision and recall of the texts that are kept.

    Args:
        labels: Whether each text describes music, bool [N].
        kept: Whether each text is kept, bool [N].
    """
    hits, music = int((labels & kept).sum()), int(labels.sum())
    return FoldScore(len(labels), hits / int(kept.sum()) if kept.any() else 1.0, hits / music if music else 0.0)


def save_filter(trained: TrainedFilter, labelled: LabelledTexts, training: FilterTraining, uri: str) -> None:
    """Writes a folder that :meth:`TextClassifier.load` reads. The description is written last.

    Raises:
        StorageError, StoragePermanentError: A file cannot be written.
    """
    classifier = trained.classifier
    description = {
        "format_version": FORMAT_VERSION,
        "threshold": classifier.threshold,
        "max_tokens": classifier.max_tokens,
        "labels": labelled.counts,
        "overall": asdict(trained.overall),
        "folds": [asdict(fold) for fold in trained.folds],
        "training": asdict(training),
    }
    with tempfile.TemporaryDirectory() as folder:
        with quiet_transformers():
            classifier.network.save_pretrained(folder)
            classifier.tokenizer.save_pretrained(folder)
        for file in sorted(Path(folder).iterdir()):
            filesystem.upload(str(file), filesystem.join(uri, file.name))
    written = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    filesystem.write_atomically(filesystem.join(uri, DESCRIPTION), written.encode())


def _trained(labelled: LabelledTexts, rows: np.ndarray, training: FilterTraining, number: int) -> TextClassifier:
    """Returns a network that is fine-tuned on some of the texts.

    Args:
        rows: Numbers of the texts to train on.
        number: Number of the training, which changes its random draws.
    """
    with _seeded(training, number):
        classifier = _pretrained(training)
        network = classifier.network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=0.01)
        steps = training.epochs * -(-len(rows) // training.batch_size)
        warmup = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        )
        for batch in _batches(rows, training):
            inputs = encoded(classifier.tokenizer, [labelled.texts[row] for row in batch], training.max_tokens)
            logits = network(**{name: tensor.to(training.device) for name, tensor in inputs.items()}).logits
            targets = torch.tensor([int(labelled.labels[row]) for row in batch], device=training.device)
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(logits, targets))
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        network.eval()
    return classifier


def _pretrained(training: FilterTraining) -> TextClassifier:
    spec = training.pretrained
    folder = weights_folder(spec, _ENCODER)
    with loading(spec, "cannot be loaded", _REMEDY):
        network, missing = load_sequence_classifier(folder)
        tokenizer = load_tokenizer(folder)
    encoder = f"{network.base_model_prefix}."
    faults = [name for name in missing if name.startswith(encoder) and ".pooler." not in name]
    if faults:
        raise PretrainedError(spec, [f"has no weights for {', '.join(faults[:20])}"], _REMEDY)
    return TextClassifier(network.to(training.device), tokenizer, training.max_tokens, threshold=0.5)


def _batches(rows: np.ndarray, training: FilterTraining) -> Iterator[Sequence[Any]]:
    """Yields the rows of each step; each epoch has an order of its own."""
    for _ in range(training.epochs):
        order = torch.randperm(len(rows)).numpy()
        for start in range(0, len(order), training.batch_size):
            yield rows[order[start : start + training.batch_size]].tolist()


@contextmanager
def _seeded(training: FilterTraining, number: int) -> Iterator[None]:
    """Seeds torch's generators and uses deterministic kernels in the block, and restores both afterwards."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(1_000 * training.seed + number)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic)
