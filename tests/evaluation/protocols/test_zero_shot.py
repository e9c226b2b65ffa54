"""Tests zero-shot tagging and classification against planted truths, scikit-learn and torchmetrics."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.protocols.templates import PromptTemplates
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification, ZeroShotTagging
from mulan.evaluation.recordings import LabelledRecording
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.protocols.planted_model import evaluated, random_text_vector, unit

GENRES = [tag.removeprefix("genre:") for tag in vocabulary("gtzan").tags]
AXES = np.eye(len(GENRES), dtype=np.float32)


def axis_of(text: str) -> np.ndarray:
    """Each genre has an axis of its own, which a perfect model finds in its prompt."""
    return AXES[GENRES.index(text.removesuffix(" music"))]


def recording(number: int, *tags: str, artist: str = "") -> LabelledRecording:
    return LabelledRecording(f"r{number:03}", "test", tags, artist=artist)


def only(model: Evaluated, protocol: ZeroShotTagging | ZeroShotClassification) -> SetScores:
    (scores,) = protocol.evaluate(model)
    return scores


def coarse_model(count: int = 80, *, untagged: int = 20, seed: int = 0) -> Evaluated:
    """Vectors with few distinct values, so that there are ties; the last recordings have no tag."""
    rng = np.random.default_rng(seed)
    tags = [
        [f"genre:{text}" for text in rng.choice(GENRES[:8], size=0 if number >= count - untagged else 2, replace=False)]
        for number in range(count)
    ]
    vectors = rng.integers(1, 4, size=(count, len(GENRES))).astype(np.float32)
    return evaluated([recording(number, *each) for number, each in enumerate(tags)], unit(vectors), axis_of)


def matrices(model: Evaluated) -> tuple[np.ndarray, np.ndarray]:
    assert model.audio is not None
    truth = np.array([[f"genre:{text}" in each.tags for text in GENRES] for each in model.audio.recordings])
    return model.audio.means.astype(np.float64), truth


def test_a_perfect_model_scores_one() -> None:
    recordings = [recording(number, f"genre:{GENRES[number % 10]}") for number in range(30)]
    model = evaluated(recordings, AXES[np.arange(30) % 10], axis_of)
    tagging = only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    assert tagging.scores == {"roc_auc": 1, "map": 1, "prevalence": pytest.approx(0.1)}
    assert (tagging.draws["roc_auc"] == 1).all() and (tagging.draws["map"] == 1).all()
    assert tagging.counts["recordings"] == tagging.counts["positives"] == 30
    assert tagging.details["vocabulary_sha256"] == vocabulary("gtzan").sha256
    assert tagging.details["prompts"]["genre:hiphop"] == ["hiphop"]
    classes = only(model, ZeroShotClassification("gtzan", "gtzan"))
    assert classes.scores == {"accuracy": 1, **tagging.scores}
    assert {(row["recall"], row["recordings"], row["mistaken_for"]) for row in classes.details["classes"]} == {
        (1, 3, None)
    }
    assert "for intervals, recordings are resampled, those of a known artist together" in classes.protocol


def test_a_model_that_ignores_its_input_is_at_chance() -> None:
    recordings = [recording(number, f"genre:{GENRES[number % 10]}") for number in range(30)]
    deaf = evaluated(recordings, np.tile(AXES[0], (30, 1)), axis_of)
    scores = only(deaf, ZeroShotClassification("gtzan", "gtzan")).scores
    assert scores == {"accuracy": 0.1, "roc_auc": 0.5, "map": pytest.approx(0.1), "prevalence": pytest.approx(0.1)}
    illiterate = evaluated(recordings, AXES[np.arange(30) % 10], lambda text: AXES[0])
    scores = only(illiterate, ZeroShotClassification("gtzan", "gtzan")).scores
    assert scores["accuracy"] == pytest.approx(0.1, abs=1e-12)  # ten equal prompts count a tenth each
    assert scores["roc_auc"] == pytest.approx(np.mean([1.0, *[4 / 9] * 9]))


@pytest.fixture
def double_precision() -> Iterator[None]:
    """torchmetrics computes in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_other_libraries_with_ties_and_empty_classes(seed: int) -> None:
    model = coarse_model(seed=seed)
    similarity, truth = matrices(model)
    scores = only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    some = truth.any(axis=0)
    assert scores.counts["scored_tags"] == some.sum() == 8
    assert scores.details["without_scores"] == ["genre:reggae", "genre:rock"]
    areas = roc_auc_score(truth[:, some], similarity[:, some], average=None)
    precisions = average_precision_score(truth[:, some], similarity[:, some], average=None)
    assert scores.scores["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert scores.scores["map"] == pytest.approx(np.mean(precisions), abs=1e-9)
    assert [each["roc_auc"] for each in scores.details["tags"]] == pytest.approx(areas, abs=1e-9)
    logits, labels = torch.from_numpy(similarity[:, some]), torch.from_numpy(truth[:, some].astype(np.int64))
    assert scores.scores["roc_auc"] == pytest.approx(multilabel_auroc(logits, labels, 8).item(), abs=1e-9)
    assert scores.scores["map"] == pytest.approx(multilabel_average_precision(logits, labels, 8).item(), abs=1e-9)


def test_dropping_recordings_without_a_tag_gives_another_score() -> None:
    model = coarse_model()
    every = only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    tagged = only(model, ZeroShotTagging("tagged", name="gtzan", vocabulary="gtzan"))
    assert (every.counts["recordings"], every.counts["untagged"]) == (80, 20)
    assert (tagged.counts["recordings"], tagged.counts["untagged"]) == (60, 0)
    assert every.counts["positives"] == tagged.counts["positives"] == 120
    similarity, truth = matrices(model)
    some = truth.any(axis=0)
    for scores, rows in ((every, slice(None)), (tagged, slice(0, 60))):
        expected = average_precision_score(truth[rows][:, some], similarity[rows][:, some], average="macro")
        assert scores.scores["map"] == pytest.approx(expected, abs=1e-9)
    assert tagged.scores["map"] > every.scores["map"] + 0.02
    assert "also those with none" in every.protocol and "with one of the tags" in tagged.protocol


def test_the_vocabulary_of_the_split_gives_another_score_than_the_list() -> None:
    recordings = [recording(number, f"genre:{GENRES[number % 2]}", "genre:noise") for number in range(4)]
    recordings += [recording(9, "mood:sad"), recording(10)]
    vectors = AXES[[0, 1, 0, 1, 2, 2]]
    model = evaluated(recordings, vectors, lambda text: axis_of(text) if text in GENRES else AXES[2])
    listed = only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    genre, mood = ZeroShotTagging("all").evaluate(model)
    assert (listed.scores["roc_auc"], listed.counts["tags"], listed.counts["scored_tags"]) == (1, 10, 2)
    assert (genre.name, genre.counts["tags"], mood.name, mood.counts["tags"]) == ("genre", 3, "mood", 1)
    assert genre.scores["roc_auc"] == pytest.approx(2 / 3)  # noise is never found


def test_prompts_are_verbatim_and_an_ensemble_is_the_normalised_mean() -> None:
    recordings = [recording(number, f"genre:{GENRES[number % 10]}") for number in range(20)]
    vectors = unit(np.random.default_rng(0).normal(size=(20, 16)))
    model = evaluated(recordings, vectors, random_text_vector)
    protocol = ZeroShotTagging("all", name="gtzan", vocabulary="gtzan", templates=PromptTemplates(("{}", "a {} song")))
    scores = only(model, protocol)
    both = np.stack([random_text_vector("blues"), random_text_vector("a blues song")]).astype(np.float64).sum(0)
    truth = np.arange(20) % 10 == 0
    expected = roc_auc_score(truth, vectors.astype(np.float64) @ (both / np.linalg.norm(both)))
    assert scores.details["tags"][0]["roc_auc"] == pytest.approx(expected, abs=1e-12)
    assert scores.details["prompts"]["genre:blues"] == ["blues", "a blues song"]
    assert scores.details["templates"] == {"genre": ["{}", "a {} song"]}
    assert scores.protocol.endswith("templates, of which the mean is taken: of genre '{}', 'a {} song'.")
    verbatim = only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    assert verbatim.scores != scores.scores


def test_equally_near_prompts_share_a_recording_and_several_labels_are_left_out() -> None:
    recordings = [recording(0, "genre:blues"), recording(1, "genre:rock"), recording(2, "genre:rock", "genre:pop")]
    half = unit(AXES[0] + AXES[1])  # as near to blues as to classical
    model = evaluated([*recordings, recording(3)], np.stack([half, AXES[0], AXES[0], AXES[0]]), axis_of)
    scores = only(model, ZeroShotClassification("gtzan", "gtzan"))
    assert scores.scores["accuracy"] == 0.25
    assert (scores.counts["recordings"], scores.counts["left_out"]) == (2, 2)
    assert scores.details["chance"]["accuracy"] == 0.1  # of ten classes, of which two occur
    rows = [(row["tag"], row["recall"], row["mistaken_for"]) for row in scores.details["classes"]]
    assert rows == [("genre:blues", 0.5, "genre:classical"), ("genre:rock", 0, "genre:blues")]


def test_intervals_are_of_artists_and_equal_for_equal_models() -> None:
    rng = np.random.default_rng(0)
    recordings = [recording(n, f"genre:{GENRES[n % 3]}", artist=f"artist {n % 7}") for n in range(42)]
    vectors = unit(AXES[np.arange(42) % 3] + 0.8 * rng.normal(size=(42, 10)))
    models = [evaluated(recordings, vectors, axis_of, replicates=200) for _ in range(2)]
    one, two = (only(model, ZeroShotClassification("gtzan", "gtzan")) for model in models)
    assert one.counts["artists_or_recordings"] == 7
    for name in ("accuracy", "roc_auc", "map"):
        np.testing.assert_array_equal(one.draws[name], two.draws[name])
        assert one.draws[name].shape == (200,)
        assert one.draws[name].min() < one.scores[name] < one.draws[name].max()
    low, high = one.details["tags"][0]["roc_auc_interval"]
    assert low < one.details["tags"][0]["roc_auc"] < high
    without = only(evaluated(recordings, vectors, axis_of, replicates=0), ZeroShotClassification("gtzan", "gtzan"))
    assert (without.scores, without.draws) == (one.scores, {})
    assert without.details["tags"][0]["roc_auc_interval"] is None


def test_what_cannot_be_scored_is_named() -> None:
    model = evaluated([recording(0, "mood:sad")], AXES[:1], axis_of)
    with pytest.raises(EvaluationError, match="has a tag of gtzan, such as genre:blues; its tags are such as mood:sad"):
        only(model, ZeroShotTagging("all", name="gtzan", vocabulary="gtzan"))
    with pytest.raises(EvaluationError, match="no embedded recordings in the split 'validation'"):
        only(model, ZeroShotTagging("all", split="validation"))
    with pytest.raises(EvaluationError, match="has tags, which zero-shot tagging needs"):
        only(evaluated([recording(0)], AXES[:1], axis_of), ZeroShotTagging("tagged"))
    several = evaluated([recording(0, "genre:rock", "genre:pop")], AXES[:1], axis_of)
    with pytest.raises(EvaluationError, match="several tags of gtzan"):
        only(several, ZeroShotClassification("gtzan", "gtzan"))
