"""Tests the task of MagnaTagATune: counts on the genuine annotations, and that other protocols give other scores."""

from dataclasses import replace

import numpy as np
import pytest

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.recordings import LabelledRecording
from mulan.evaluation.tasks.mtat import MTAT
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.tasks.genuine import (
    assert_chance,
    counts_of,
    magnatagatune,
    protocols_by_set,
    random_model,
    scores_by_set,
)
from tests.evaluation.tasks.planted_tasks import OneHotTexts, model_of, words
from tests.public_metadata import expected_counts

TOP_50 = vocabulary("mtat_top50").tags


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return random_model(magnatagatune(tmp_path_factory.mktemp("mtat")))


@pytest.fixture(scope="module")
def zero_shot(genuine: Evaluated) -> dict[str, SetScores]:
    return scores_by_set(MTAT, genuine, "zero_shot")


@pytest.mark.parametrize(
    ("name", "recordings", "untagged", "tags"),
    [
        ("mtat_top50_annotated", 5329, 997, 50),
        ("mtat_top50_tagged", 4332, 0, 50),
        ("mtat_188_annotated", 5329, 867, 188),
        ("mtat_188_tagged", 4462, 0, 188),
    ],
)
def test_the_genuine_test_sets_have_their_counts(
    zero_shot: dict[str, SetScores], name: str, recordings: int, untagged: int, tags: int
) -> None:
    counted = expected_counts()["magnatagatune"]["tag_counts_188"]
    of_tag = {f"mtat:{tag}": counts["test"] for tag, counts in counted.items()}
    kept = TOP_50 if tags == 50 else tuple(of_tag)
    scores = zero_shot[name]
    assert counts_of(scores, "recordings", "untagged", "tags", "scored_tags") == (recordings, untagged, tags, tags)
    assert scores.counts["positives"] == sum(of_tag[tag] for tag in kept)
    assert {row["tag"]: row["positives"] for row in scores.details["tags"]} == {tag: of_tag[tag] for tag in kept}
    assert scores.details["vocabulary_sha256"] == vocabulary(f"mtat_{'top50' if tags == 50 else '188'}").sha256
    assert_chance(scores)


def test_the_test_sets_have_the_known_prevalences(zero_shot: dict[str, SetScores]) -> None:
    assert round(zero_shot["mtat_top50_annotated"].scores["prevalence"], 6) == 0.053102
    assert round(zero_shot["mtat_top50_tagged"].scores["prevalence"], 6) == 0.065323


def test_leaving_out_untagged_clips_raises_the_average_precision_of_the_same_model(genuine: Evaluated) -> None:
    assert genuine.audio is not None
    test = [each for each in genuine.audio.recordings if each.split == "test"]
    encoder = OneHotTexts(words(TOP_50))
    rng = np.random.default_rng(0)
    known = np.stack(
        [
            np.sum([encoder.embed_text(words([tag]))[0] for tag in each.tags if tag in TOP_50], axis=0) * np.ones(50)
            for each in test
        ]
    )
    model = model_of(test, known + rng.normal(size=known.shape), encoder, replicates=0)
    top_50 = [protocol for protocol in MTAT.protocols if getattr(protocol, "vocabulary", "") == "mtat_top50"]
    scores = {each.name: each.scores for protocol in top_50[:2] for each in protocol.evaluate(model)}
    difference = scores["mtat_top50_tagged"]["map"] - scores["mtat_top50_annotated"]["map"]
    assert 0.01 < difference < 0.1, scores


def small(tags: dict[str, tuple[str, ...]], similarity: dict[str, float]) -> Evaluated:
    """Returns a model of clips whose vectors have a similarity to the tag guitar, and none to any other."""
    encoder = OneHotTexts([*words(vocabulary("mtat_188").tags), ""])
    recordings = [LabelledRecording(name, "test", tags[name]) for name in sorted(tags)]
    vectors = np.zeros((len(tags), len(encoder.rows)))
    for row, recording in enumerate(recordings):
        cosine = similarity[recording.recording_id]
        vectors[row, encoder.rows["guitar"]], vectors[row, -1] = cosine, np.sqrt(1 - cosine**2)
    return model_of(recordings, vectors, encoder, replicates=0)


def test_untagged_clips_count_in_one_set_and_not_in_the_other() -> None:
    """Two of the four clips without guitar that are more similar to it than a guitar have no tag."""
    tags = {"a": ("mtat:guitar",), "b": ("mtat:guitar",), "c": ("mtat:piano",), "d": (), "e": ("mtat:electro",)}
    model = small(tags, {"a": 0.9, "b": 0.3, "c": 0.2, "d": 0.5, "e": 0.4})
    scores = scores_by_set(MTAT, model, "zero_shot")
    guitar = {
        name: next(row for row in each.details["tags"] if row["tag"] == "mtat:guitar") for name, each in scores.items()
    }
    # a guitar is above all others, the other one above c, and above d and e where these count
    assert guitar["mtat_top50_annotated"]["roc_auc"] == pytest.approx(4 / 6)
    assert guitar["mtat_top50_tagged"]["roc_auc"] == 1.0
    assert guitar["mtat_188_tagged"]["roc_auc"] == pytest.approx(3 / 4)
    assert [scores[f"mtat_top50_{name}"].counts["recordings"] for name in ("annotated", "tagged")] == [5, 2 + 1]


def test_the_vocabulary_of_the_split_gives_another_score() -> None:
    tags = {"a": ("mtat:guitar",), "b": ("mtat:piano",), "c": ("mtat:electro", "mtat:piano"), "d": ()}
    model = small(tags, {"a": 0.9, "b": 0.1, "c": 0.1, "d": 0.1})
    (of_the_split,) = ZeroShotTagging("all").evaluate(model)
    scores = scores_by_set(MTAT, model, "zero_shot")
    # guitar 1; piano 1/2 of ties below one; electro only where the vocabulary has it
    assert scores["mtat_top50_annotated"].scores["roc_auc"] == pytest.approx((1 + 1 / 2) / 2)
    assert of_the_split.scores["roc_auc"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert (of_the_split.counts["tags"], scores["mtat_top50_annotated"].counts["tags"]) == (3, 50)
    assert len(scores["mtat_top50_annotated"].details["without_scores"]) == 48


def test_probes_are_trained_on_the_same_kind_of_clips_as_they_are_tested_on(genuine: Evaluated) -> None:
    """The heads of MuLan and of MuLaP have the same clips."""
    probes = protocols_by_set(MTAT, "probes")
    for name in ("mtat_top50_annotated", "mtat_top50_tagged"):
        logistic, mlp = probes[name], probes[f"{name}_mlp"]
        assert isinstance(logistic, TaggingProbe) and isinstance(mlp, TaggingProbe)
        assert (logistic.head, mlp.head) == ("logistic", "mlp")
        assert replace(mlp, head="logistic", name=name) == logistic
    assert {name: protocol.recordings for name, protocol in probes.items() if isinstance(protocol, TaggingProbe)} == {
        name: "all" if "annotated" in name else "tagged" for name in probes
    }


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mtat_top50_annotated", (18_706, 1_825, 5_329, 997)), ("mtat_top50_tagged", (15_247, 1_529, 4_332, 0))],
)
def test_probes_have_the_counts_of_the_genuine_splits(genuine: Evaluated, name: str, counts: tuple[int, ...]) -> None:
    model = random_model(genuine.recordings, dim=2)
    (scores,) = protocols_by_set(MTAT, "probes")[name].evaluate(model)
    assert counts_of(scores, "train_recordings", "validation_recordings", "recordings", "untagged") == counts
    assert counts_of(scores, "tags", "scored_tags", "untrained_tags") == (50, 50, 0)
    assert_chance(scores)
