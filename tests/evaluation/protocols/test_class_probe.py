import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.keys import weighted_key_scores
from mulan.evaluation.probes import mlp
from mulan.evaluation.probes.probe import FittedProbe, ProbeData, ProbeTraining
from mulan.evaluation.protocols.class_probe import ClassificationProbe, KeyProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.probes.planted import embedded, mixed_splits
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector

KEYS = vocabulary("keys").tags
GENRES = vocabulary("gtzan").tags


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 8)


def score(probe: Any, vectors: np.ndarray, tags: list[list[str]], replicates: int = 40) -> SetScores:
    audio = embedded(vectors, splits=mixed_splits(len(vectors)), tags=tags)
    (one,) = probe.evaluate(Evaluated(PlantedEncoder(random_text_vector, audio.dim), audio, replicates=replicates))
    return one


def planted(classes: int, recordings: int, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Each class has a direction of its own, and all occur equally often in every split."""
    rng = np.random.default_rng(0)
    numbers = np.arange(recordings) // 4 % classes
    return numbers, np.eye(classes)[numbers] + noise * rng.normal(size=(recordings, classes))


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_classes_with_directions_of_their_own_are_told_apart(head: Any) -> None:
    numbers, vectors = planted(10, 400)
    tags = [[GENRES[number]] for number in numbers]
    tags[3], tags[7] = [], [GENRES[0], GENRES[1]]
    result = score(ClassificationProbe("gtzan", head=head), vectors, tags)
    assert (result.section, result.name) == ("probes", "gtzan")
    assert result.scores == {"accuracy": 1.0, "macro_f1": 1.0}
    assert (result.draws["accuracy"] == 1).all()
    assert (result.draws["macro_f1"] == 1).all()
    assert (result.counts["recordings"], result.counts["left_out"], result.counts["classes"]) == (98, 2, 10)
    assert all(row["recall"] == 1 and row["mistaken_for"] is None for row in result.details["classes"])
    json.dumps(result.details, allow_nan=False)


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_a_model_that_ignores_its_input_predicts_one_class(head: Any) -> None:
    numbers, vectors = planted(10, 400)
    result = score(ClassificationProbe("gtzan", head=head), np.ones_like(vectors), [[GENRES[each]] for each in numbers])
    assert result.scores["accuracy"] == pytest.approx(0.1)
    assert result.scores["macro_f1"] == pytest.approx(2 * 10 / (10 + 100) / 10)
    assert result.details["chance"] == pytest.approx(result.scores)
    assert len(result.details["runs"]) == (1 if head == "logistic" else 3)
    for run in result.details["runs"]:
        assert run == pytest.approx(result.scores)
    assert result.draws["accuracy"].min() < 0.1 < result.draws["accuracy"].max()


def test_a_class_that_only_the_test_split_has_counts_as_wrong() -> None:
    numbers, vectors = planted(4, 320, noise=0.3)
    numbers = np.where((numbers == 3) & (np.arange(320) % 4 != 3), 0, numbers)
    result = score(ClassificationProbe("gtzan", "small", "logistic"), vectors, [[GENRES[each]] for each in numbers])
    recalls = {row["tag"]: row["recall"] for row in result.details["classes"]}
    assert result.name == "small"
    assert recalls[GENRES[3]] == 0
    assert result.scores["accuracy"] == pytest.approx(np.mean(list(recalls.values())))
    assert 0.5 < result.scores["accuracy"] <= 0.75
    assert (result.counts["tested_classes"], result.counts["untrained_classes"]) == (4, 7)
    assert GENRES[3] in result.details["untrained"]
    assert next(row for row in result.details["classes"] if row["tag"] == GENRES[3])["mistaken_for"] == GENRES[0]


def test_scores_are_those_of_the_predictions() -> None:
    numbers, vectors = planted(5, 400, noise=0.6)
    result = score(ClassificationProbe("gtzan", head="logistic"), vectors, [[GENRES[each]] for each in numbers])
    test = numbers[3::4]
    recalls = {row["tag"]: row["recall"] for row in result.details["classes"]}
    assert result.scores["accuracy"] == pytest.approx(np.mean([recalls[GENRES[each]] for each in test]))
    assert 0.3 < result.scores["accuracy"] < 0.95
    assert result.scores["macro_f1"] == pytest.approx(result.scores["accuracy"], abs=0.1)
    assert f1_score(test, test, average="macro") == 1 > result.scores["macro_f1"]


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_keys_are_told_apart_or_confused_with_the_score_of_mirex(head: Any) -> None:
    numbers, vectors = planted(24, 768)
    tags = [[KEYS[number]] for number in numbers]
    right = score(KeyProbe(head=head), vectors, tags)
    assert list(right.scores) == ["weighted_score", "accuracy", "macro_f1"]
    assert right.scores["weighted_score"] == right.scores["accuracy"] == 1
    blind = score(KeyProbe("giantsteps", head=head), np.ones_like(vectors), tags)
    assert blind.name == "giantsteps"
    assert blind.scores["weighted_score"] == pytest.approx((1 + 0.5 + 0.3 + 0.2) / 24)
    assert blind.scores["accuracy"] == pytest.approx(1 / 24)
    assert blind.draws["weighted_score"].std() > 0


def test_chance_is_the_best_constant_of_the_training_split() -> None:
    """The most frequent class of the training split is not that of the test split."""
    numbers, vectors = planted(3, 240, noise=0.6)
    numbers[(np.arange(240) % 4 != 3) & (np.arange(240) % 5 == 0)] = 1
    numbers[(np.arange(240) % 4 == 3) & (np.arange(240) % 5 == 0)] = 2
    test = numbers[3::4]
    result = score(ClassificationProbe("gtzan", head="logistic"), vectors, [[GENRES[each]] for each in numbers])
    constant = np.ones_like(test)
    assert result.details["chance"]["accuracy"] == pytest.approx((test == 1).mean())
    expected = f1_score(test, constant, average="macro", zero_division=0)
    assert result.details["chance"]["macro_f1"] == pytest.approx(expected)


def test_chance_of_keys_is_the_key_with_the_highest_weighted_score() -> None:
    """Gb major is the most frequent key, but F major is right for a third, and half right for those in B flat."""
    names = [tag.split(":")[1] for tag in KEYS]
    below, f, sharp = (names.index(name) for name in ("Bb major", "F major", "Gb major"))
    numbers = np.array([*[below] * 3, *[f] * 4, *[sharp] * 5]).repeat(20)  # the same shares in each split
    result = score(KeyProbe(head="logistic"), np.eye(24)[numbers], [[KEYS[each]] for each in numbers])
    test = numbers[3::4]
    scores = [
        weighted_key_scores([names[each] for each in test], [names[key]] * 60).mean() for key in (below, f, sharp)
    ]
    assert result.details["chance"]["weighted_score"] == pytest.approx(scores[1])
    assert scores[1] != pytest.approx(scores[2])


def test_settings_of_keys_are_chosen_by_the_weighted_score() -> None:
    fitted: list[ProbeData] = []

    def remembering(data: ProbeData) -> FittedProbe:
        fitted.append(data)
        return FittedProbe(lambda audio: np.zeros((1, len(audio.recordings), 24)), {})

    numbers, vectors = planted(24, 192)
    audio = embedded(vectors, splits=mixed_splits(192), tags=[[KEYS[each]] for each in numbers])
    training = ProbeTraining("remembering", "Remembers what was fitted", remembering)
    list(KeyProbe().evaluate(Evaluated(PlantedEncoder(random_text_vector, 24), audio, training=training, replicates=0)))
    names = [tag.split(":")[1] for tag in KEYS]
    all_c, all_g = np.full(10, names.index("C major")), np.full(10, names.index("G major"))
    some_right = all_c.copy()
    some_right[:6] = names.index("Gb major")
    # fifths are never right, and better than four of ten right keys
    assert fitted[0].quality(all_c, np.eye(24)[all_g]) == pytest.approx(0.5)
    assert fitted[0].quality(all_c, np.eye(24)[some_right]) == pytest.approx(0.4)


def test_what_cannot_be_predicted_is_named() -> None:
    with pytest.raises(EvaluationError, match="one class of gtzan only"):
        score(ClassificationProbe("gtzan"), np.ones((8, 2)), [[GENRES[0]]] * 8)
    with pytest.raises(EvaluationError, match="exactly one of the tags of gtzan"):
        score(ClassificationProbe("gtzan"), np.ones((8, 2)), [list(GENRES[:2])] * 8)
    with pytest.raises(EvaluationError, match="no recording has a tag of keys"):
        score(KeyProbe(), np.ones((8, 2)), [[GENRES[0]]] * 8)
