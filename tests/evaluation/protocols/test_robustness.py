import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from mulan.evaluation.corruptions import CORRUPTIONS, Corruption
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.protocol import Evaluated, FittedScores, RecordingProtocol, SetScores
from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.protocols.robustness import Robustness
from mulan.evaluation.protocols.scored_split import ScoredSplit
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from tests.evaluation.melody import sine
from tests.evaluation.protocols.planted_model import PlantedEncoder, random_text_vector

RATE_HZ = 16_000
CHEAP = ("noise", "low_pass", "bit_depth")
PITCHES_HZ = {"low": 150, "middle": 1200, "high": 5500}


class BandEnergies:
    """Embeds audio as the levels of three bands of its spectrum."""

    info = EncoderInfo("bands", "function", "", "0" * 64, RATE_HZ, RATE_HZ // 4, 3, is_unit=False, embeds_text=False)

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(windows.astype(np.float64))) ** 2
        hz = np.fft.rfftfreq(windows.shape[1], 1 / RATE_HZ)
        edges = ((50, 600), (600, 3000), (3000, 8000))
        return np.stack([power[:, (hz >= low) & (hz < high)].sum(axis=1) for low, high in edges], axis=1).astype("f4")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


def recordings() -> list[tuple[LabelledRecording, np.ndarray]]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(12):
        pitch = list(PITCHES_HZ)[number % 3]
        sound = sine(RATE_HZ, 0.25, PITCHES_HZ[pitch] * rng.uniform(0.9, 1.1), peak=rng.uniform(2000, 20_000))
        split = "train" if number < 6 else "test"
        found.append((LabelledRecording(f"rec-{number:02d}", split, (f"pitch:{pitch}",)), sound))
    return found


@functools.cache
def embedded(corruption: Corruption | None = None, *splits: str) -> EmbeddedRecordings:
    chosen = [(label, sound) for label, sound in recordings() if label.split in splits]
    windows = []
    for _, sound in chosen:
        corrupted = sound if corruption is None else corruption(sound, RATE_HZ)
        windows.append(corrupted[: len(corrupted) // (RATE_HZ // 4) * (RATE_HZ // 4)].reshape(-1, RATE_HZ // 4))
    starts = np.cumsum([0, *map(len, windows)])
    vectors = BandEnergies().embed_audio(np.concatenate(windows))
    return EmbeddedRecordings(tuple(label for label, _ in chosen), vectors, starts, is_unit=False)


def corrupted(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
    return (embedded(corruption, split) for corruption in corruptions)


def classes(audio: EmbeddedRecordings) -> np.ndarray:
    return np.array([each.tags[0] for each in audio.recordings])


@dataclass(frozen=True)
class LoudestBand(ScoredSplit):
    """Takes the loudest band as the class; it fits nothing."""

    needs_text: ClassVar[bool] = False

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        assert model.audio is not None
        named = np.array([f"pitch:{name}" for name in PITCHES_HZ])[model.audio.means.argmax(axis=1)]
        right = named == classes(model.audio)
        yield SetScores("zero_shot", "pitch", {"accuracy": float(right.mean())}, {"accuracy": right[:5].astype(float)})
        yield SetScores("zero_shot", "other", {"roc_auc": 0.5})


@dataclass(frozen=True)
class Centroids(ScoredSplit):
    """Fits the mean spectrum of each class."""

    fits: list[int] = field(default_factory=list)
    needs_text: ClassVar[bool] = True

    @property
    def splits(self) -> tuple[str, ...]:
        return ("test", "train")

    def fit(self, model: Evaluated) -> FittedScores:
        assert model.audio is not None
        train = model.audio.of_splits("train")
        self.fits.append(len(train.recordings))
        shares = train.means / train.means.sum(axis=1, keepdims=True)
        names = np.unique(classes(train))
        centroids = np.stack([shares[classes(train) == name].mean(axis=0) for name in names])

        def scores(test: EmbeddedRecordings) -> Iterator[SetScores]:
            own = test.means / np.maximum(test.means.sum(axis=1, keepdims=True), 1e-9)
            nearest = names[((own[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)]
            right = nearest == classes(test)
            chance = {"chance": {"accuracy": 1 / 3}}
            yield SetScores(
                "probes", "pitch", {"accuracy": float(right.mean())}, counts={"recordings": 6}, details=chance
            )

        return scores

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        assert model.audio is not None
        yield from self.fit(model)(model.audio.of_splits("test"))


def evaluated(base: RecordingProtocol) -> Evaluated:
    return Evaluated(BandEnergies(), embedded(None, *base.splits), corrupted=corrupted)


@dataclass(frozen=True)
class RefittedCentroids(ScoredSplit):
    """Fits the same whenever it is evaluated."""

    centroids: Centroids = field(default_factory=Centroids)
    needs_text: ClassVar[bool] = False

    @property
    def splits(self) -> tuple[str, ...]:
        return self.centroids.splits

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        assert model.audio is not None
        ids = [each.recording_id for each in model.audio.recordings]
        assert ids == sorted(ids)
        assert len(ids) == 12
        yield from self.centroids.evaluate(model)


def test_all_corruptions_are_the_default() -> None:
    assert Robustness(LoudestBand(), "accuracy").corruptions == tuple(CORRUPTIONS)


def test_scores_are_those_of_the_protocol_on_corrupted_recordings() -> None:
    model = evaluated(LoudestBand())
    results = {each.name: each for each in Robustness(LoudestBand(), "accuracy", CHEAP).evaluate(model)}
    assert list(results) == [f"zero_shot.pitch.{name}" for name in CHEAP]
    for name in CHEAP:
        expected = {
            f"strength_{strength}": next(
                LoudestBand().evaluate(replace(model, audio=embedded(Corruption(name, strength), "test")))
            ).scores["accuracy"]
            for strength in range(6)
        }
        assert results[f"zero_shot.pitch.{name}"].scores == expected


def test_a_protocol_without_fit_is_fitted_to_the_same_recordings_each_time() -> None:
    base = RefittedCentroids()
    expected = [each.scores for each in Robustness(Centroids(), "accuracy", CHEAP).evaluate(evaluated(Centroids()))]
    found = [each.scores for each in Robustness(base, "accuracy", CHEAP).evaluate(evaluated(base))]
    assert found == expected
    assert base.centroids.fits == [6] * 17  # and once, whether the corpus has what it needs


def test_a_low_pass_takes_what_is_above_it_from_a_model_and_few_bits_do_not() -> None:
    results = {
        each.name: each.scores for each in Robustness(Centroids(), "accuracy", CHEAP).evaluate(evaluated(Centroids()))
    }
    low_pass = results["probes.pitch.low_pass"]
    assert low_pass["strength_0"] == 1
    assert low_pass["strength_2"] < 1  # the high class is above 2 kHz
    assert low_pass["strength_5"] <= 2 / 3
    assert set(results["probes.pitch.bit_depth"].values()) == {1}


def test_a_probe_is_fitted_once_and_to_uncorrupted_recordings() -> None:
    base = Centroids()
    list(Robustness(base, "accuracy", CHEAP).evaluate(evaluated(base)))
    assert base.fits == [6]


def test_only_the_chosen_corruptions_are_embedded_each_strength_once() -> None:
    asked: list[Corruption] = []

    def noting(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
        asked.extend(corruptions)
        return corrupted(corruptions, split)

    model = replace(evaluated(LoudestBand()), corrupted=noting)
    list(Robustness(LoudestBand(), "accuracy", ("noise", "bit_depth")).evaluate(model))
    assert sorted((each.name, each.strength) for each in asked) == [
        *(("bit_depth", strength) for strength in range(1, 6)),
        *(("noise", strength) for strength in range(6)),
    ]


def test_sets_state_values_units_chance_and_draws() -> None:
    (first,) = Robustness(LoudestBand(), "accuracy", ("noise",)).evaluate(evaluated(LoudestBand()))
    assert first.section == "robustness"
    assert first.details["values"] == [20, 15, 10, 5, 0]
    assert (first.details["unit"], first.details["score"], first.details["set"]) == ("dB", "accuracy", "pitch")
    assert list(first.draws) == list(first.scores)
    assert "signal-to-noise ratio 20, 15, 10, 5, 0 dB" in first.protocol
    (second,) = Robustness(Centroids(), "accuracy", ("bit_depth",)).evaluate(evaluated(Centroids()))
    assert second.details["chance"]["strength_5"] == 1 / 3
    assert (second.counts, second.draws) == ({"recordings": 6}, {})


def test_what_the_protocol_needs_is_what_its_robustness_needs() -> None:
    robustness = Robustness(Centroids(), "accuracy")
    assert (robustness.splits, robustness.needs_text) == (("test", "train"), True)


def test_the_recordings_of_the_split_that_the_protocol_scores_are_corrupted() -> None:
    robustness, asked = Robustness(LoudestBand(), "accuracy", ("noise",)).on_split("train"), []

    def noting(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
        asked.append(split)
        return corrupted(corruptions, split)

    (scores,) = robustness.evaluate(replace(evaluated(LoudestBand()), corrupted=noting))
    assert robustness.splits == ("train",) and set(asked) == {"train"}
    assert "Recordings of the split train are corrupted by white noise" in scores.protocol


def test_nothing_is_corrupted_if_the_corpus_lacks_what_the_protocol_needs() -> None:
    asked: list[str] = []

    def noting(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
        asked.append(split)
        return corrupted(corruptions, split)

    model = replace(evaluated(LoudestBand()), corrupted=noting)
    with pytest.raises(EvaluationError, match="has a text of the source long_form"):
        list(Robustness(CaptionRetrieval("long_form"), "recall10").evaluate(model))
    assert not asked


def test_texts_are_embedded_once() -> None:
    encoder = PlantedEncoder(random_text_vector, 16)
    labels = [LabelledRecording(f"{row}", "test", texts={"long_form": (f"text {row}",)}) for row in range(6)]
    vectors = np.stack([random_text_vector(f"text {row}") for row in range(6)])
    audio = EmbeddedRecordings(tuple(labels), vectors, np.arange(7), is_unit=True)
    model = Evaluated(encoder, audio, replicates=5, corrupted=lambda corruptions, _: iter([audio] * len(corruptions)))
    results = list(Robustness(CaptionRetrieval("long_form"), "recall1").evaluate(model))
    assert [set(each.scores.values()) for each in results] == [{1.0}] * len(CORRUPTIONS)
    assert encoder.embedded == [f"text {row}" for row in range(6)]


def test_models_without_audio_and_missing_scores_are_refused() -> None:
    model = evaluated(LoudestBand())
    with pytest.raises(EvaluationError, match="bands cannot embed corrupted recordings"):
        list(Robustness(LoudestBand(), "accuracy").evaluate(replace(model, corrupted=None)))
    with pytest.raises(EvaluationError, match="no set of LoudestBand has the score map"):
        list(Robustness(LoudestBand(), "map", CHEAP).evaluate(model))
