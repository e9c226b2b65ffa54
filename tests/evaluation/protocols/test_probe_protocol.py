from dataclasses import replace

import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.class_probe import ClassificationProbe, KeyProbe
from mulan.evaluation.protocols.probe import RegressionProbe, TaggingProbe
from mulan.evaluation.protocols.probe_protocol import ProbeProtocol
from mulan.evaluation.protocols.protocol import Evaluated, FittedProtocol, SetScores
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector

PROBES: list[ProbeProtocol] = [
    TaggingProbe("mood:"),
    ClassificationProbe("mood:", head="logistic"),
    KeyProbe(head="logistic"),
    RegressionProbe("numbers", targets=("pitch",), head="ridge"),
]
SCORES = ("roc_auc", "accuracy", "weighted_score", "r2")


@pytest.fixture(scope="module")
def model() -> Evaluated:
    """Vectors that contain all labels of the recordings; those of the split ``validation`` in the wrong order."""
    rng = np.random.default_rng(0)
    classes = rng.integers(2, size=160)
    splits = [("train", "train", "validation", "test")[number % 4] for number in range(160)]
    recordings = tuple(
        LabelledRecording(
            f"{number:03}",
            split,
            (f"mood:{'ab'[value]}", f"key:{('C major', 'A minor')[value]}"),
            targets={"pitch": float(value)},
        )
        for number, (split, value) in enumerate(zip(splits, classes.tolist(), strict=True))
    )
    seen = np.where(np.array(splits) == "validation", 1 - classes, classes)
    vectors = (np.stack([seen, 1 - seen], axis=1) + rng.normal(0, 0.01, (160, 2))).astype(np.float32)
    audio = EmbeddedRecordings(recordings, vectors, np.arange(161), is_unit=False)
    return Evaluated(PlantedEncoder(random_text_vector, 2), audio, replicates=5)


def only(protocol: ProbeProtocol, model: Evaluated, test: EmbeddedRecordings) -> SetScores:
    (scores,) = protocol.fit(model)(test)
    return scores


@pytest.mark.parametrize(("probe", "score"), list(zip(PROBES, SCORES, strict=True)))
def test_a_fitted_probe_scores_any_vectors(probe: ProbeProtocol, score: str, model: Evaluated) -> None:
    assert isinstance(probe, FittedProtocol)
    model = replace(model, audio=model.all_audio.where(lambda recording: recording.split != "validation"))
    test = model.of_split("test")
    scores = only(probe, model, test)
    assert scores.scores[score] > 0.99 and scores.counts["recordings"] == 40
    (evaluated,) = probe.evaluate(model)
    assert evaluated.scores == scores.scores and evaluated.counts == scores.counts
    swapped = EmbeddedRecordings(test.recordings, test.windows[:, ::-1], test.starts, is_unit=False)
    assert only(probe, model, swapped).scores[score] < 0.5
    half = test.select(range(20))
    assert only(probe, model, half).counts["recordings"] == 20


@pytest.mark.parametrize(("probe", "score"), list(zip(PROBES, SCORES, strict=True)))
def test_the_validation_split_is_scored_without_choosing_by_it(
    probe: ProbeProtocol, score: str, model: Evaluated
) -> None:
    on_validation = probe.on_split("validation")
    assert on_validation.splits == ("train", "validation")
    (scores,) = on_validation.evaluate(model)
    # the vectors of this split are wrong, so that settings chosen by it would reach more
    assert scores.scores[score] < 0.5 and scores.counts["recordings"] == 40
    assert "recordings of the split validation" in scores.protocol
    assert "the validation split is the one that is scored" in scores.protocol


def test_the_training_split_cannot_be_scored(model: Evaluated) -> None:
    on_train = PROBES[0].on_split("train")
    assert on_train.splits == ("train",)
    with pytest.raises(EvaluationError, match="cannot be scored on it"):
        list(on_train.evaluate(model))
