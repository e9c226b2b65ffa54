"""Tests a model of ``mteb`` with batches like those of its tasks, plain objects with the same fields."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mulan.data.audio.windows import evenly_spaced_windows
from mulan.evaluation.encoders.encoder import EncoderError
from mulan.evaluation.mteb_model import MtebModel
from tests.evaluation.planted_encoder import LABELS, WINDOW_SAMPLES, PlantedEncoder, sound


def item(label: int, seconds: float = 0.5, rate_hz: int = 8000, seed: int = 0) -> dict[str, Any]:
    return {"array": sound(label, seconds=seconds, rate_hz=rate_hz, seed=seed), "sampling_rate": rate_hz}


def encode(model: MtebModel, *batches: dict[str, Any]) -> np.ndarray:
    task = SimpleNamespace(name="SomeTask")
    return model.encode(
        batches, task_metadata=task, hf_split="test", hf_subset="default", prompt_type="query", batch_size=2
    )


@pytest.mark.parametrize("is_unit", [True, False])
def test_the_vector_of_a_recording_is_the_mean_over_the_windows_that_cover_it(is_unit: bool) -> None:
    encoder = PlantedEncoder(is_unit=is_unit)
    long = np.concatenate([sound(0, seconds=0.7, rate_hz=8000), 0.5 * sound(2, seconds=0.9, rate_hz=8000)])
    short = sound(1, seconds=0.2, rate_hz=8000)
    batch = {"audio": [{"array": samples, "sampling_rate": 8000} for samples in (long, short)], "label": [0, 1]}
    rows = encode(MtebModel(encoder), batch)
    assert encoder.windows_of_calls == [4 + 1]

    for row, samples in zip(rows, (long, short), strict=True):
        padded = np.pad(np.rint(samples * 32767), (0, max(0, WINDOW_SAMPLES - len(samples)))).astype(np.int16)
        starts = evenly_spaced_windows(len(padded), WINDOW_SAMPLES)
        vectors = [encoder.embed_audio(padded[None, start : start + WINDOW_SAMPLES])[0] for start in starts]
        expected = np.mean(vectors, axis=0, dtype=np.float64)
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected) if is_unit else expected, atol=1e-4)
    assert rows.dtype == np.float32
    assert (np.linalg.norm(rows[0]) > 0.99) == is_unit


def test_batches_follow_each_other_in_order() -> None:
    model, items = MtebModel(PlantedEncoder()), [item(k % 3, 0.3 + 0.4 * k, seed=k) for k in range(7)]
    together = encode(model, {"audio": items})
    np.testing.assert_array_equal(together.argmax(axis=1), [0, 1, 2, 0, 1, 2, 0])
    apart = encode(model, {"audio": items[:3]}, {"audio": items[3:4]}, {"audio": items[4:]})
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert encode(model).shape == (0, 3)


def test_recordings_are_resampled_and_mixed_down() -> None:
    model, expected = MtebModel(PlantedEncoder()), encode(MtebModel(PlantedEncoder()), {"audio": [item(1)]})
    for rate_hz in (44_100, 22_050, 5000):
        np.testing.assert_allclose(encode(model, {"audio": [item(1, rate_hz=rate_hz)]}), expected, atol=0.01)
    mono = item(1)["array"]
    for array in (np.stack([mono, mono]), mono.astype(np.float64), mono[None], mono.tolist()):
        rows = encode(model, {"audio": [{"array": array, "sampling_rate": 8000}]})
        np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_text_of_a_task_is_embedded_by_the_encoder() -> None:
    texts = (LABELS[2], LABELS[0])  # batches of torch's DataLoader may hold tuples
    rows = encode(MtebModel(PlantedEncoder()), {"text": texts, "id": ["a", "b"]}, {"text": [LABELS[1]]})
    np.testing.assert_array_equal(rows, np.eye(3)[[2, 0, 1]])


def test_an_item_of_audio_and_text_has_the_sum_of_both_vectors() -> None:
    model = MtebModel(PlantedEncoder())
    audio, text = [item(0), item(1)], [LABELS[1], LABELS[1]]
    rows = encode(model, {"audio": audio, "text": text})
    np.testing.assert_allclose(rows, encode(model, {"audio": audio}) + encode(model, {"text": text}), atol=1e-7)


def test_zero_shot_classification_of_planted_sounds_is_perfect() -> None:
    model, labels = MtebModel(PlantedEncoder()), np.arange(12) % 3
    audio = encode(model, {"audio": [item(label, 0.8, 44_100, seed) for seed, label in enumerate(labels.tolist())]})
    similarities = model.similarity(audio, encode(model, {"text": list(LABELS)}))
    np.testing.assert_array_equal(similarities.argmax(1), labels)


def test_similarities_are_cosines() -> None:
    model, generator = MtebModel(PlantedEncoder()), np.random.default_rng(0)
    first, second = generator.normal(size=(4, 3)), generator.normal(size=(5, 3))
    cosine = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in second] for a in first]
    np.testing.assert_allclose(model.similarity(first, second), cosine, atol=1e-12)
    np.testing.assert_allclose(model.similarity(torch.from_numpy(first), torch.from_numpy(second)), cosine, atol=1e-12)
    np.testing.assert_allclose(model.similarity(first[2], second), cosine[2:3], atol=1e-12)
    np.testing.assert_allclose(model.similarity_pairwise(first, second[:4]), np.diag(np.array(cosine)), atol=1e-12)
    np.testing.assert_allclose(model.similarity_pairwise(first[1], second[1]), [cosine[1][1]], atol=1e-12)


def test_what_the_model_says_of_itself() -> None:
    description = MtebModel(PlantedEncoder()).description
    assert description["name"] == "mulan/planted"
    assert (description["revision"], description["embed_dim"]) == ("ab" * 32, 3)
    assert description["modalities"] == ["audio", "text"]
    assert MtebModel(PlantedEncoder(embeds_text=False)).description["modalities"] == ["audio"]


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        ({"text": ["music"]}, "the task SomeTask of mteb has text, which planted does not embed; choose another task"),
        ({"audio": [item(0)], "text": ["music"]}, "has text, which planted does not embed"),
        ({"image": [None]}, "has neither audio nor text"),
    ],
)
def test_tasks_that_the_encoder_cannot_do(batch: dict[str, Any], fault: str) -> None:
    with pytest.raises(EncoderError, match=fault):
        encode(MtebModel(PlantedEncoder(embeds_text=False)), batch)
