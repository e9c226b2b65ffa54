import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.tagging import tagging_scores
from mulan.evaluation.probes import mlp
from mulan.evaluation.probes.linear import fit_logistic
from mulan.evaluation.probes.mlp import fit_mlp
from mulan.evaluation.probes.probe import FittedProbe, ProbeData, ProbeTraining
from mulan.evaluation.protocols.probe import RegressionProbe, TaggingProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.recordings import EmbeddedRecordings
from tests.evaluation.probes.planted import embedded, mixed_splits
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector

RECORDINGS, DIM = 400, 8
NAMES = ("mood:a", "mood:b", "mood:c")


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 8)


def evaluated(audio: EmbeddedRecordings, *, seed: int = 0, replicates: int = 50) -> Evaluated:
    return Evaluated(PlantedEncoder(random_text_vector, audio.dim), audio, seed=seed, replicates=replicates)


def tags_of(truth: np.ndarray, names: Sequence[str] = NAMES) -> list[list[str]]:
    return [[name for name, has in zip(names, row, strict=True) if has] for row in truth]


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors and the tags that a linear map of them tells with certainty; some recordings have none."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(RECORDINGS, DIM))
    return vectors, vectors @ np.random.default_rng(7).normal(size=(DIM, 3)) > 2


def only(scores: Any) -> SetScores:
    (one,) = scores
    return one


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_a_linear_answer_is_found(head: Any) -> None:
    vectors, truth = planted()
    model = evaluated(embedded(vectors, splits=mixed_splits(RECORDINGS), tags=tags_of(truth)))
    result = only(TaggingProbe(head=head).evaluate(model))
    assert (result.section, result.name) == ("probes", "mood")
    assert result.scores["roc_auc"] > (0.985 if head == "logistic" else 0.94)  # in eight epochs
    assert result.scores["map"] > result.scores["prevalence"] + 0.5
    test = truth[3::4]
    assert result.scores["prevalence"] == pytest.approx(test.mean())
    assert result.counts["positives"] == test.sum()
    assert result.counts["untagged"] == (~test.any(axis=1)).sum() > 0
    assert [row["tag"] for row in result.details["tags"]] == list(NAMES)
    assert len(result.details["runs"]) == (1 if head == "logistic" else 3)
    assert "windows of 1 s;" in result.protocol
    for name in ("roc_auc", "map"):
        runs = [run[name] for run in result.details["runs"]]
        assert np.mean(runs) == pytest.approx(result.scores[name]) and len(set(runs)) == len(runs)
        assert result.draws[name].shape == (50,)
        assert result.draws[name].min() <= result.scores[name] <= result.draws[name].max()
    json.dumps(result.details, allow_nan=False)


def several_windows(vectors: np.ndarray) -> list[np.ndarray]:
    """Returns windows of recordings, one to seven equal ones of each."""
    counts = np.random.default_rng(8).integers(1, 8, size=len(vectors))
    return [np.tile(vector, (count, 1)) for vector, count in zip(vectors, counts, strict=True)]


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_a_model_that_ignores_its_input_gives_chance(head: Any) -> None:
    _, truth = planted()
    windows = several_windows(np.full((RECORDINGS, DIM), 0.1))
    constant = embedded(windows, splits=mixed_splits(RECORDINGS), tags=tags_of(truth))
    blind = only(TaggingProbe(head=head).evaluate(evaluated(constant)))
    chance = blind.details["chance"]
    assert blind.scores["roc_auc"] == chance["roc_auc"] == 0.5
    assert chance["map"] == pytest.approx(blind.scores["prevalence"], abs=0.05)
    noise = np.random.default_rng(1).normal(size=(RECORDINGS, DIM))
    model = evaluated(embedded(noise, splits=mixed_splits(RECORDINGS), tags=tags_of(truth)))
    result = only(TaggingProbe(head=head).evaluate(model))
    assert result.scores["roc_auc"] == pytest.approx(0.5, abs=0.12)
    assert result.draws["roc_auc"].min() < 0.5 < result.draws["roc_auc"].max()


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_the_labels_of_the_test_split_influence_only_the_scores(head: Any) -> None:
    """With permuted labels the scores are those of the same predictions."""
    fitted: list[FittedProbe] = []

    def remembering(data: ProbeData) -> FittedProbe:
        fitted.append({"logistic": fit_logistic, "mlp": fit_mlp}[head](data))
        return fitted[-1]

    training = ProbeTraining("remembering", "Remembers what was fitted", remembering)
    vectors, truth = planted()
    splits, permuted = mixed_splits(RECORDINGS), truth.copy()
    permuted[3::4] = np.random.default_rng(2).permutation(truth[3::4])
    corpora = [embedded(vectors, splits=splits, tags=tags_of(each)) for each in (truth, permuted)]
    models = [replace(evaluated(corpus), training=training) for corpus in corpora]
    results = [only(TaggingProbe(head=head).evaluate(model)) for model in models]
    assert (results[0].details["head"], results[0].protocol[:27]) == ("remembering", "Remembers what was fitted; ")
    assert results[0].details["chosen"] == results[1].details["chosen"]
    test = corpora[0].of_splits("test")
    runs, other_runs = (each.predict(test) for each in fitted)
    assert (runs == other_runs).all()
    expected = [tagging_scores(run, permuted[3::4], NAMES).roc_auc for run in runs]
    assert results[1].scores["roc_auc"] == pytest.approx(np.mean(expected)) != results[0].scores["roc_auc"]


def test_recordings_without_tags_count_or_are_left_out_of_all_splits() -> None:
    vectors, truth = planted(3)
    vectors += np.random.default_rng(4).normal(size=vectors.shape)
    model = evaluated(embedded(vectors, splits=mixed_splits(RECORDINGS), tags=tags_of(truth)))
    every, tagged = (
        only(TaggingProbe("mood:", name, recordings=name).evaluate(model))
        for name in ("all", "tagged")  # type: ignore[arg-type]
    )
    assert (every.name, tagged.name) == ("all", "tagged")
    has_tag, sizes = truth.any(axis=1), ("train_recordings", "validation_recordings", "recordings")
    rows = (np.flatnonzero(np.array(mixed_splits(RECORDINGS)) == split) for split in ("train", "validation", "test"))
    for size, of_split in zip(sizes, rows, strict=True):
        assert every.counts[size] == len(of_split)
        assert tagged.counts[size] == has_tag[of_split].sum() < len(of_split)
    assert tagged.counts["untagged"] == 0
    assert every.scores["map"] != pytest.approx(tagged.scores["map"], abs=0.02)
    assert "also those with none of the tags" in every.protocol
    assert "only those with one of the tags" in tagged.protocol


def test_tags_that_the_training_split_lacks_are_counted_and_not_predicted() -> None:
    vectors, truth = planted()
    tags = tags_of(truth)
    for row in range(3, RECORDINGS, 8):
        tags[row].append("mood:only in test")
    for row in range(RECORDINGS):
        tags[row].append("mood:everywhere")
    result = only(TaggingProbe().evaluate(evaluated(embedded(vectors, splits=mixed_splits(RECORDINGS), tags=tags))))
    assert result.details["untrained"] == ["mood:everywhere", "mood:only in test"]
    assert (result.counts["tags"], result.counts["untrained_tags"], result.counts["scored_tags"]) == (5, 2, 3)
    assert [row["tag"] for row in result.details["tags"]] == list(NAMES)


def test_sets_without_a_tag_to_score_are_named_after_the_others() -> None:
    vectors, truth = planted()
    tags = tags_of(truth)
    for row in range(RECORDINGS):
        tags[row] += [f"split:{mixed_splits(RECORDINGS)[row]}", "all:everywhere"]
    found = TaggingProbe().evaluate(evaluated(embedded(vectors, splits=mixed_splits(RECORDINGS), tags=tags)))
    assert next(iter(found)).name == "mood"
    with pytest.raises(EvaluationError, match="no tag of all, split can be scored: a probe needs recordings with and"):
        list(found)


def test_each_category_is_a_set_and_a_fixed_list_is_named_with_its_digest() -> None:
    vectors, truth = planted()
    tags = tags_of(truth, ("mood:a", "genre:b", "mtat:guitar"))
    model = evaluated(embedded(vectors, splits=mixed_splits(RECORDINGS), tags=tags), replicates=0)
    results = list(TaggingProbe().evaluate(model))
    assert [result.name for result in results] == ["genre", "mood", "mtat"]
    assert all(result.draws == {} for result in results)
    fixed = only(TaggingProbe("mtat_top50").evaluate(model))
    assert (fixed.name, fixed.counts["tags"], fixed.counts["untrained_tags"]) == ("mtat_top50", 50, 49)
    assert len(fixed.details["vocabulary_sha256"]) == 64
    assert fixed.scores == results[2].scores


def test_two_runs_give_identical_numbers_also_without_a_validation_split() -> None:
    vectors, truth = planted()
    splits = ["train", "train", "train", "test"] * (RECORDINGS // 4)
    artists = [f"artist {row % 50}" for row in range(RECORDINGS)]
    noisy = vectors + np.random.default_rng(5).normal(size=vectors.shape)
    audio = embedded(noisy, splits=splits, tags=tags_of(truth), artists=artists)
    one, other = (only(TaggingProbe().evaluate(evaluated(audio))) for _ in range(2))
    assert (one.scores, one.details, one.counts) == (other.scores, other.details, other.counts)
    assert all((one.draws[name] == other.draws[name]).all() for name in one.draws)
    assert "has no validation split" in one.protocol
    assert one.counts["train_recordings"] + one.counts["validation_recordings"] == 300
    assert one.counts["artists_or_recordings"] == len({artists[row] for row in range(3, RECORDINGS, 4)})


def rated(vectors: np.ndarray, numbers: np.ndarray) -> EmbeddedRecordings:
    targets = [{"arousal": row[0], "valence": row[1], "other": 0.0} for row in numbers.tolist()]
    targets[3] = {"arousal": 1.0}
    return embedded(vectors, splits=mixed_splits(len(vectors)), targets=targets)


def test_numbers_that_are_a_linear_map_are_found() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(RECORDINGS, DIM)).astype(np.float32)
    numbers = 5 + vectors @ rng.normal(size=(DIM, 2)) * np.array([1, 30])
    numbers[:, 1] += 60 * rng.normal(size=RECORDINGS)
    result = only(RegressionProbe("emomusic", head="ridge").evaluate(evaluated(rated(vectors, numbers))))
    assert list(result.scores) == ["r2", "r2_arousal", "r2_valence"]
    assert result.scores["r2_arousal"] > 0.999
    assert 0 < result.scores["r2_valence"] < 0.95
    assert result.scores["r2"] == pytest.approx((result.scores["r2_arousal"] + result.scores["r2_valence"]) / 2)
    known = np.delete(numbers, np.arange(3, RECORDINGS, 4), axis=0)
    assert list(result.details["mean"].values()) == pytest.approx(known.mean(axis=0).tolist())
    assert list(result.details["deviation"].values()) == pytest.approx(known.std(axis=0).tolist())
    assert (result.counts["recordings"], result.counts["left_out"]) == (RECORDINGS // 4 - 1, 1)
    for name, score in result.scores.items():
        assert result.draws[name].min() <= score <= result.draws[name].max()


@pytest.mark.parametrize("head", ["ridge", "mlp"])
def test_numbers_predicted_from_nothing_have_no_positive_r2(head: Any) -> None:
    numbers = np.random.default_rng(1).normal(size=(RECORDINGS, 2))
    constant = rated(np.ones((RECORDINGS, DIM)), numbers)
    result = only(RegressionProbe("emomusic", head=head).evaluate(evaluated(constant)))
    assert -0.1 < min(result.scores.values()) <= max(result.scores.values()) <= 0
    assert result.details["chance"] == dict.fromkeys(result.scores, 0)
    for name, score in result.scores.items():
        assert np.mean([run[name] for run in result.details["runs"]]) == pytest.approx(score)
    assert len(result.details["runs"]) == (1 if head == "ridge" else 3)


def test_a_list_that_cannot_be_probed_is_an_error_with_the_reason() -> None:
    vectors = np.random.default_rng(6).normal(size=(80, DIM))
    splits = np.array(mixed_splits(80))
    everywhere = [["mood:always", *(["mood:some"] if split == "test" else [])] for split in splits]
    nowhere = [["genre:b"] if split == "train" else [] for split in splits]
    alike = [["genre:b"] if split == "test" or row % 3 else [] for row, split in enumerate(splits)]
    for tags, name, reason in (
        (everywhere, "mood:", "mood: no tag can be probed"),
        (nowhere, "genre:", "genre: no recording of the split validation and test has one of the tags"),
        (alike, "genre:", "genre: no tag can be scored, since none .* of the split test"),
    ):
        model = evaluated(embedded(vectors, splits=mixed_splits(80), tags=tags))
        recordings: Any = "tagged" if tags is nowhere else "all"
        for named in (name, None):
            with pytest.raises(EvaluationError, match=reason):
                list(TaggingProbe(named, recordings=recordings).evaluate(model))
    both = [[*one, *(["genre:c"] if row % 3 else [])] for row, one in enumerate(everywhere)]
    model = evaluated(embedded(vectors, splits=mixed_splits(80), tags=both))
    assert [each.name for each in TaggingProbe().fit(model)(model.of_split("test"))] == ["genre"]
    with pytest.raises(EvaluationError, match="no tag of mood can be scored"):
        list(TaggingProbe().evaluate(model))


def test_absent_targets_are_named() -> None:
    model = evaluated(rated(np.ones((8, DIM)), np.ones((8, 2))))
    with pytest.raises(EvaluationError, match="targets arousal, dominance, which"):
        list(RegressionProbe("other", targets=("arousal", "dominance")).evaluate(model))
