import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.probes import mlp
from mulan.evaluation.protocols.class_probe import ClassificationProbe, KeyProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.probes.planted import embedded, mixed_splits

KEYS = vocabulary("keys").tags
GENRES = vocabulary("gtzan").tags


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 8)


def score(probe: Any, vectors: np.ndarray, tags: list[list[str]], replicates: int = 40) -> SetScores:
    audio = embedded(vectors, splits=mixed_splits(len(vectors)), tags=tags)
    (one,) = probe.evaluate(Evaluated(encoder=None, audio=audio, replicates=replicates))  # type: ignore[arg-type]
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


def test_what_cannot_be_predicted_is_named() -> None:
    with pytest.raises(EvaluationError, match="one class of gtzan only"):
        score(ClassificationProbe("gtzan"), np.ones((8, 2)), [[GENRES[0]]] * 8)
    with pytest.raises(EvaluationError, match="exactly one of the tags of gtzan"):
        score(ClassificationProbe("gtzan"), np.ones((8, 2)), [list(GENRES[:2])] * 8)
    with pytest.raises(EvaluationError, match="no recording has a tag of keys"):
        score(KeyProbe(), np.ones((8, 2)), [[GENRES[0]]] * 8)
