"""Tests the accuracy of triplets against planted truths, chance and ties."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.protocols.triplet_sources import DrawnTriplets, RecordingTriplets, Triplet
from mulan.evaluation.protocols.triplets import TextTriplets
from mulan.evaluation.recordings import LabelledRecording
from tests.evaluation.protocols.planted_model import evaluated, random_text_vector, unit


@dataclass(frozen=True)
class GivenTriplets:
    triplets: tuple[Triplet, ...]

    def draw(self, recordings: Sequence[LabelledRecording], seed: int) -> DrawnTriplets:
        return DrawnTriplets(self.triplets, "Given triplets", {"source": "given"})


NUMBERED = GivenTriplets(tuple(Triplet(f"a{n}", f"p{n}", f"n{n}") for n in range(10)))


def scored(source: GivenTriplets | RecordingTriplets, angle_of: dict[str, float]) -> SetScores:
    def vector_of(text: str) -> np.ndarray:
        return np.array([np.cos(angle_of[text]), np.sin(angle_of[text])], np.float32)

    (scores,) = TextTriplets("given", source).evaluate(evaluated((), None, vector_of, dim=2))
    return scores


def test_the_share_of_right_triplets_is_the_accuracy_and_ties_count_half() -> None:
    angles = {f"a{n}": 0.0 for n in range(10)}
    angles |= {f"p{n}": 0.5 for n in range(10)}
    angles |= {f"n{n}": [1.0, 0.1, 0.5][0 if n < 7 else 1 if n < 9 else 2] for n in range(10)}
    scores = scored(NUMBERED, angles)
    assert scores.section == "triplets"
    assert scores.scores == {"accuracy": 0.75, "ties": 0.1}
    assert (scores.counts["triplets"], scores.counts["anchors"]) == (10, 10)
    assert scores.counts["texts"] == 30
    assert [each["anchor"] for each in scores.details["most_wrong"]] == ["a7", "a8"]
    assert scores.details["most_wrong"][0]["negative_similarity"] == pytest.approx(np.cos(0.1), abs=1e-6)
    assert scores.details["source"] == "given"


def test_a_model_that_ignores_its_input_is_at_chance() -> None:
    assert scored(NUMBERED, dict.fromkeys([t + str(n) for t in "apn" for n in range(10)], 0.3)).scores == {
        "accuracy": 0.5,
        "ties": 1,
    }
    many = GivenTriplets(tuple(Triplet(f"a{n}", f"p{n}", f"n{n}") for n in range(1000)))
    (scores,) = TextTriplets("given", many).evaluate(evaluated((), None, random_text_vector, dim=16))
    assert scores.scores["accuracy"] == pytest.approx(0.5, abs=0.05)
    assert scores.scores["ties"] == 0
    low, high = np.percentile(scores.draws["accuracy"], [0, 100])
    assert low < scores.scores["accuracy"] < high


def test_triplets_of_one_anchor_are_drawn_together() -> None:
    together = GivenTriplets(tuple(Triplet("a", f"p{n}", f"n{n}") for n in range(10)))
    angles = {"a": 0.0, **{f"p{n}": 0.5 for n in range(10)}, **{f"n{n}": 0.2 * n for n in range(10)}}
    scores = scored(together, angles)
    assert scores.counts["anchors"] == 1
    assert (scores.draws["accuracy"] == scores.scores["accuracy"]).all()


def test_a_perfect_model_of_recordings_scores_one_and_states_the_same_triplets() -> None:
    recordings = [
        LabelledRecording(str(n), "test", texts={"short_form": (f"{n}",), "long_form": (f"About {n}",)})
        for n in range(30)
    ]
    axes = unit(np.random.default_rng(0).normal(size=(30, 8)))
    model = evaluated(recordings, None, lambda text: axes[int(text.removeprefix("About "))], dim=8)
    (one,) = TextTriplets("texts", RecordingTriplets()).evaluate(model)
    assert one.scores == {"accuracy": 1, "ties": 0}
    assert one.details["most_wrong"] == []
    (two,) = TextTriplets("texts", RecordingTriplets()).evaluate(
        evaluated(recordings, None, random_text_vector, dim=16)
    )
    assert two.details["triplets_sha256"] == one.details["triplets_sha256"]
