"""What probes predict: tags, by the name of a list or of a category, and the heads that predict them."""

from collections.abc import Iterator, Mapping
from typing import Literal

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.probes.linear import fit_logistic, fit_ridge
from mulan.evaluation.probes.mlp import fit_mlp
from mulan.evaluation.probes.probe import ProbeTraining
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.protocols.protocol import RESAMPLED_RECORDINGS, Evaluated
from mulan.vocabularies.vocabulary import Vocabulary, vocabulary

ClassifierHead = Literal["logistic", "mlp"]
"""MuLan's logistic regression on the vectors of recordings, or MuLaP's perceptron on those of windows."""
RegressionHead = Literal["ridge", "mlp"]
"""Ridge regression on the vectors of recordings, or MuLaP's perceptron on those of windows."""

_HEADS: Mapping[str, ProbeTraining] = {
    training.name: training
    for training in (
        ProbeTraining("logistic", "Logistic regression on the standardised vectors of recordings", fit_logistic),
        ProbeTraining("ridge", "Ridge regression on the standardised vectors of recordings", fit_ridge),
        ProbeTraining(
            "mlp",
            "Perceptron with one hidden layer of 512 on the standardised vectors of the encoder's windows, of which an "
            "epoch has a random one of each recording's grid, not a random crop; mean of the predictions for a "
            "recording's windows, scores averaged over 3 initialisations",
            fit_mlp,
        ),
    )
}


def training_of(head: ClassifierHead | RegressionHead, model: Evaluated) -> ProbeTraining:
    """Returns what is trained: the head, or what the model is to be evaluated with in its place."""
    return model.training or _HEADS[head]


def protocol_sentence(training: ProbeTraining, recordings: str, splits: ProbeSplits, model: Evaluated) -> str:
    """Says how scores were computed.

    Args:
        training: What was trained.
        recordings: The recordings of each split, after "of the split test, ".
        splits: The splits.
        model: The model, whose windows may have another length than those of a paper.
    """
    info = model.encoder.info
    windows = f" windows of {info.window_samples / info.sample_rate_hz:g} s;" if info.embeds_audio else ""
    return (
        f"{training.sentence};{windows} recordings of the split {splits.scored}, {recordings}; {splits.sentence}; "
        f"{RESAMPLED_RECORDINGS}."
    )


def probed_sets(name: str | None, splits: ProbeSplits) -> Iterator[Vocabulary]:
    """Yields the tags of each set.

    Args:
        name: Name of a list of :mod:`mulan.vocabularies`; a category with a colon, such as ``instrument:``, for all its
            tags in the corpus; or None for the tags of all categories, each a set.
        splits: The recordings.

    Raises:
        EvaluationError: No recording has one of the tags.
    """
    found = {
        tag
        for part in (splits.train, splits.validation, splits.test)
        for recording in part.recordings
        for tag in recording.tags
    }
    if name is not None and not name.endswith(":"):
        tags = vocabulary(name)
        if found.isdisjoint(tags.tags):
            raise EvaluationError(f"no recording has a tag of {name}, such as {tags.tags[0]}, for a probe to predict")
        yield tags
        return
    categories = sorted({split_tag(tag)[0] for tag in found})
    chosen = categories if name is None else [category for category in categories if f"{category}:" == name]
    if not chosen:
        needed = "a tag" if name is None else f"a tag {name}…"
        raise EvaluationError(f"no recording has {needed} for a probe to predict")
    for category in chosen:
        yield Vocabulary(category, tuple(sorted(tag for tag in found if split_tag(tag)[0] == category)))
