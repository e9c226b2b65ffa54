"""Tests networks that are trained end to end in place of probes, on tones that vectors of an untrained network hide."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulan.evaluation.encoders.encoder import EncoderError
from mulan.evaluation.encoders.untrained import open_untrained
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.end_to_end import EndToEnd, starting_networks
from mulan.evaluation.finetuning.training import EndToEndJob, TrainedNetwork
from mulan.evaluation.metrics.tagging import tagging_scores
from mulan.evaluation.protocols.class_probe import ClassificationProbe
from mulan.evaluation.protocols.probe import RegressionProbe, TaggingProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, multi_hot
from tests.evaluation.finetuning.conftest import Hidden
from tests.evaluation.finetuning.trained_here import QUICK, end_to_end, not_called, train_here


def only(scores: Any) -> SetScores:
    (one,) = scores
    return one


def scored(hidden: Hidden, audio: EmbeddedRecordings, trained: EndToEnd, protocol: Any = None) -> SetScores:
    model = Evaluated(hidden.encoder, audio, replicates=20, training=trained.training())
    return only((protocol or TaggingProbe("band:")).evaluate(model))


def relabelled(
    audio: EmbeddedRecordings, change: Callable[[LabelledRecording], LabelledRecording]
) -> EmbeddedRecordings:
    return replace(audio, recordings=tuple(map(change, audio.recordings)))


@pytest.mark.parametrize("from_scratch", [False, True])
def test_a_trained_network_finds_what_frozen_vectors_hide_and_is_trained_once(
    hidden: Hidden, tmp_path: Path, from_scratch: bool
) -> None:
    frozen = only(TaggingProbe("band:").evaluate(Evaluated(hidden.encoder, hidden.audio, replicates=20)))
    arguments: tuple[Any, ...] = (hidden.encoder.info, hidden.corpus, hidden.audio, str(tmp_path))
    found = scored(hidden, hidden.audio, end_to_end(*arguments, from_scratch=from_scratch))
    assert frozen.scores["roc_auc"] < 0.85
    assert found.scores["roc_auc"] > 0.97
    assert dict(found.counts) == dict(frozen.counts)  # so that differences have intervals
    assert (found.details["head"], found.details["chosen"]["learning_rate"]) == ("end to end", 3e-3)
    assert found.details["chosen"]["epoch"] <= 6
    first = "random weights" if from_scratch else "the weights of small"
    assert f"trained end to end from {first}" in found.protocol

    said: list[str] = []
    kept = end_to_end(*arguments, from_scratch=from_scratch, train=not_called, on_message=said.append)
    again = scored(hidden, hidden.audio, kept)
    assert again.scores == found.scores
    assert again.details == found.details
    assert "48 recordings, predicted before" in said[0]


def test_labels_of_the_test_split_change_nothing_but_the_scores(hidden: Hidden, tmp_path: Path) -> None:
    """The network is the same: its file of predictions is found, and no job has the labels."""

    def poisoned(each: LabelledRecording) -> LabelledRecording:
        tags = ("band:high",) if int(each.recording_id[-3:]) % 3 == 0 else ()
        return replace(each, tags=tags) if each.split == "test" else each

    jobs: list[EndToEndJob] = []

    def remembering(job: EndToEndJob) -> list[TrainedNetwork]:
        jobs.append(job)
        return train_here(job)

    arguments: tuple[Any, ...] = (hidden.encoder.info, hidden.corpus)
    settings = replace(QUICK, max_epochs=1)
    trained = end_to_end(*arguments, hidden.audio, str(tmp_path), settings=settings, train=remembering)
    found = scored(hidden, hidden.audio, trained)
    audio = relabelled(hidden.audio, poisoned)
    kept = end_to_end(*arguments, audio, str(tmp_path), settings=settings, train=not_called)
    other = scored(hidden, audio, kept)
    assert other.details["chosen"] == found.details["chosen"]
    (job,) = jobs
    assert {each.tags for each in job.scored.recordings} == {()}
    test = audio.of_splits("test")
    predicted = train_here(job)[0 if found.details["chosen"]["learning_rate"] == 1e-4 else 1].predictions
    expected = tagging_scores(predicted, multi_hot(test.recordings, ["band:high"]), ["band:high"]).roc_auc
    assert other.scores["roc_auc"] == pytest.approx(expected) != found.scores["roc_auc"]


def test_shuffled_labels_give_chance(hidden: Hidden, tmp_path: Path) -> None:
    has_tag = np.random.default_rng(3).random(len(hidden.audio.recordings)) < 0.5
    tags = {
        each.recording_id: ("band:high",) if has else ()
        for each, has in zip(hidden.audio.recordings, has_tag, strict=True)
    }
    audio = relabelled(hidden.audio, lambda each: replace(each, tags=tags[each.recording_id]))
    settings = replace(QUICK, learning_rates=(1e-3,), max_epochs=3)
    found = scored(
        hidden, audio, end_to_end(hidden.encoder.info, hidden.corpus, audio, str(tmp_path), settings=settings)
    )
    assert found.scores["roc_auc"] == pytest.approx(0.5, abs=0.2)  # 48 recordings: a standard deviation of 0.08


def test_classes_and_numbers_are_predicted_too(hidden: Hidden, tmp_path: Path) -> None:
    def described(each: LabelledRecording) -> LabelledRecording:
        is_high = "band:high" in each.tags
        return replace(each, tags=("band:high" if is_high else "band:low",), targets={"height": 3.0 + 2 * is_high})

    audio = relabelled(hidden.audio, described)
    settings = replace(QUICK, learning_rates=(3e-3,))
    trained = end_to_end(hidden.encoder.info, hidden.corpus, audio, str(tmp_path), settings=settings)
    assert scored(hidden, audio, trained, ClassificationProbe("band:")).scores["accuracy"] > 0.85
    assert scored(hidden, audio, trained, RegressionProbe("height", ("height",))).scores["r2"] > 0.5


def test_a_damaged_file_or_other_labels_train_again(hidden: Hidden, tmp_path: Path) -> None:
    trained: list[EndToEndJob] = []
    said: list[str] = []

    def train(job: EndToEndJob) -> list[TrainedNetwork]:
        trained.append(job)
        values = np.full((len(job.scored.recordings), job.data.outputs), len(trained) / 10)
        return [TrainedNetwork(rate, 1, 0.5, values) for rate in job.settings.learning_rates]

    def again(audio: EmbeddedRecordings) -> int:
        network = end_to_end(
            hidden.encoder.info, hidden.corpus, audio, str(tmp_path), train=train, on_message=said.append
        )
        scored(hidden, audio, network)
        return len(trained)

    assert again(hidden.audio) == again(hidden.audio) == 1
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert again(hidden.audio) == 2
    assert "is no file of predictions, or is damaged" in said[-1]
    moved = {"hidden-000": ("band:high",)}
    assert (
        again(relabelled(hidden.audio, lambda each: replace(each, tags=moved.get(each.recording_id, each.tags)))) == 3
    )


def test_a_training_that_diverged_is_no_candidate(hidden: Hidden, tmp_path: Path) -> None:
    def train(job: EndToEndJob, diverged: set[float]) -> list[TrainedNetwork]:
        rows = np.linspace(0, 1, len(job.scored.recordings))[:, None]
        return [
            TrainedNetwork(rate, 2, float("-inf"), rows * np.nan if rate in diverged else rows)
            for rate in job.settings.learning_rates
        ]

    def trained(*diverged: float) -> SetScores:
        network = end_to_end(
            hidden.encoder.info,
            hidden.corpus,
            hidden.audio,
            str(tmp_path / str(len(diverged))),
            train=lambda job: train(job, set(diverged)),
        )
        return scored(hidden, hidden.audio, network)

    assert trained(1e-4).details["chosen"] == {
        "learning_rate": 3e-3,
        "epoch": 2,
        "validation_quality": None,
        "candidates": {"0.0001": None, "0.003": None},
    }
    with pytest.raises(EvaluationError, match="fine-tuned small: training diverged with all learning rates"):
        trained(1e-4, 3e-3)


def test_networks_in_reports_are_named_and_have_no_vectors(hidden: Hidden) -> None:
    model = hidden.encoder.info
    tuned, scratch = starting_networks(model, with_scratch=True)
    assert [each.name for each in starting_networks(model, with_scratch=False)] == ["fine-tuned small"]
    one, other = tuned.encoder(), scratch.encoder()
    assert (one.info.name, one.info.kind, one.info.sha256) == ("fine-tuned small", "fine-tuned", model.sha256)
    assert (other.info.name, other.info.kind) == ("small from scratch", "from scratch")
    assert other.info.sha256 == open_untrained(model.uri, name="a", device="cpu").info.sha256
    with pytest.raises(EncoderError, match="has no vectors"):
        one.embed_audio(np.zeros((1, 8000), np.int16))
    with pytest.raises(EvaluationError, match="a model of kind clap cannot be fine-tuned"):
        starting_networks(replace(model, kind="clap"), with_scratch=True)
