"""Tests that labels are audible in rendered compositions."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from mulan.demo.composition import Composition, CompositionLabels, Note, Part, compose
from mulan.demo.genres import GENRES
from mulan.demo.rendering import SAMPLE_RATE_HZ, RenderError, render_flac, render_stems

WINDOW = 3 * SAMPLE_RATE_HZ


def example(genre: str, seed: int) -> Composition:
    moods, tempi = GENRES[genre].moods, GENRES[genre].tempi
    return compose(
        CompositionLabels(genre=genre, mood=moods[seed % len(moods)], tempo=tempi[seed % len(tempi)]), seed=seed
    )


def decode(flac: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(flac), dtype="float64")
    assert rate == SAMPLE_RATE_HZ
    assert samples.ndim == 1
    return samples


def one_part(part: Part) -> Composition:
    composition = example("jazz", 0)
    return replace(composition, parts=(part,))


def test_the_same_composition_gives_the_same_file() -> None:
    composition = example("celtic", 3)
    file = render_flac(composition)
    assert file == render_flac(composition)
    assert len(decode(file)) == round(composition.duration_s * SAMPLE_RATE_HZ)
    assert soundfile.info(io.BytesIO(file)).subtype == "PCM_16"


@pytest.mark.parametrize("genre", GENRES)
def test_every_instrument_is_audible_in_the_mix(genre: str) -> None:
    for seed in (0, 1):
        composition = example(genre, seed)
        stems = np.array(render_stems(composition), dtype=np.float64)
        starts = range(0, stems.shape[1] - WINDOW + 1, WINDOW // 2)
        for name in composition.instruments:
            own = sum(s for s, part in zip(stems, composition.parts, strict=True) if part.instrument == name)
            share_db = [
                10 * np.log10(np.sum(own[i : i + WINDOW] ** 2) / np.sum(stems.sum(0)[i : i + WINDOW] ** 2))
                for i in starts
            ]
            assert np.mean(np.array(share_db) > -18) >= 0.9, f"{name} in {composition.labels}, seed {seed}: {share_db}"


def test_the_beat_of_a_recording_has_the_labelled_tempo() -> None:
    """With four kicks per bar, the loud onsets are a beat apart."""
    for seed, tempo in enumerate(("medium tempo", "fast")):
        composition = compose(CompositionLabels(genre="electronic", mood="dark", tempo=tempo), seed=seed)
        kick = next(part for part in composition.parts if part.is_percussion)
        samples = decode(render_flac(replace(composition, parts=(kick,))))
        hop = 80
        envelope = np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).mean(1)
        rises = np.diff(envelope) > 0.3 * np.diff(envelope).max()
        onsets_s: list[float] = []
        for rise_s in np.flatnonzero(rises) * hop / SAMPLE_RATE_HZ:
            if not onsets_s or rise_s > onsets_s[-1] + 0.2:
                onsets_s.append(rise_s)
        assert 60 / np.median(np.diff(onsets_s)) == pytest.approx(composition.bpm, rel=0.03)


def test_energetic_is_louder_than_calm() -> None:
    level = {
        mood: np.sqrt(
            np.mean(decode(render_flac(compose(CompositionLabels(genre="jazz", mood=mood, tempo="fast"), seed=1))) ** 2)
        )
        for mood in ("calm", "dreamy", "energetic")
    }
    assert level["calm"] < level["dreamy"] < level["energetic"]


def test_struck_notes_decay_and_velocity_is_audible() -> None:
    struck = Part(
        instrument="harp",
        program=46,
        is_percussion=False,
        level_db=0.0,
        decay_s=0.5,
        tremolo_hz=None,
        notes=(Note(0, 4, 60, 1.0), Note(4, 4, 60, 0.5)),
    )
    composition = one_part(struck)
    (stem,) = render_stems(composition)
    beat = SAMPLE_RATE_HZ * 60 / composition.bpm
    sustained = render_stems(
        one_part(replace(struck, decay_s=None, notes=tuple(n._replace(velocity=1) for n in struck.notes)))
    )[0]

    def gain(beats: float) -> float:
        place = slice(round(beats * beat), round(beats * beat) + 800)
        return float(np.sqrt(np.mean(stem[place] ** 2) / np.mean(sustained[place] ** 2)))

    seconds = 2 * 60 / composition.bpm
    assert gain(2.5) / gain(0.5) == pytest.approx(np.exp(-seconds / 0.5), rel=0.05)
    assert gain(4.5) / gain(0.5) == pytest.approx(0.5, rel=0.05)


def test_a_diverging_sample_raises_an_error_with_composition_and_instrument() -> None:
    diverging = Part(
        instrument="whistle",
        program=78,  # its samples make the renderer diverge when a note of this pitch is held
        is_percussion=False,
        level_db=0.0,
        decay_s=None,
        tremolo_hz=None,
        notes=tuple(Note(4 * i, 4, 60, 1.0) for i in range(4)),
    )
    composition = one_part(diverging)
    with pytest.raises(RenderError, match=f"composition {composition.seed}.*whistle"):
        render_flac(composition)
