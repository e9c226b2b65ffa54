"""Tests that the notes of a composition match its labels."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from mulan.demo.composition import Composition, CompositionLabels, Part, compose
from mulan.demo.genres import GENRES, MOODS
from mulan.demo.instruments import PITCHED

SCALES = {
    "happy": {0, 2, 4, 5, 7, 9, 11},  # major
    "calm": {0, 2, 4, 5, 7, 9, 11},
    "energetic": {0, 2, 4, 5, 7, 9, 10},  # mixolydian
    "dreamy": {0, 2, 4, 6, 7, 9, 11},  # lydian
    "melancholic": {0, 2, 3, 5, 7, 8, 10},  # natural minor
    "dark": {0, 1, 3, 5, 7, 8, 10},  # phrygian
}
ALL_LABELS = [
    CompositionLabels(genre=name, mood=mood, tempo=tempo)
    for name, genre in GENRES.items()
    for mood, tempo in itertools.product(genre.moods, genre.tempi)
]


@pytest.fixture(scope="module")
def compositions() -> list[Composition]:
    return [compose(labels, seed=seed) for seed in range(3) for labels in ALL_LABELS]


def sounding_s(part: Part, bpm: float) -> list[tuple[float, float]]:
    """Returns the start and end of each note in seconds; a struck note ends after its decay."""
    seconds = 60 / bpm
    max_s = np.inf if part.decay_s is None else part.decay_s
    return [(n.start * seconds, n.start * seconds + min(n.duration * seconds, max_s)) for n in part.notes]


def test_a_composition_is_a_function_of_labels_and_seed() -> None:
    labels = ALL_LABELS[5]
    assert compose(labels, seed=7) == compose(labels, seed=7)
    assert compose(labels, seed=7) != compose(labels, seed=8)


def test_duration_and_number_of_instruments(compositions: list[Composition]) -> None:
    assert all(20 <= c.duration_s <= 26 for c in compositions)
    assert all(3 <= len(c.instruments) <= 6 for c in compositions)


def test_the_tempo_matches_its_tag(compositions: list[Composition]) -> None:
    limits = {"slow": (0, 85), "medium tempo": (95, 120), "fast": (135, 180)}
    for c in compositions:
        low, high = limits[c.labels.tempo]
        assert low < c.bpm < high


def test_the_mode_matches_the_mood(compositions: list[Composition]) -> None:
    for c in compositions:
        scale_s = np.zeros(12)
        for part in c.parts:
            if not part.is_percussion:
                for note in part.notes:
                    scale_s[(note.pitch - c.tonic) % 12] += note.duration
        expected = SCALES[c.labels.mood]
        assert set(np.flatnonzero(scale_s)) <= expected
        assert scale_s[4 if 4 in expected else 3] > 0, "the third distinguishes major from minor"


def test_moods_differ_in_density_and_register() -> None:
    """Compares compositions of classical music, the only genre with every mood."""
    notes_per_beat, height = {}, {}
    for mood in MOODS:
        drawn = [
            compose(CompositionLabels(genre="classical", mood=mood, tempo="fast"), seed=seed) for seed in range(60)
        ]
        leads = [c.parts[2] for c in drawn]
        notes_per_beat[mood] = np.mean([len(lead.notes) / (4 * c.bars) for lead, c in zip(leads, drawn, strict=True)])
        height[mood] = np.mean([np.mean([note.pitch for note in lead.notes]) for lead in leads])
    assert notes_per_beat["energetic"] > 1.3 * notes_per_beat["happy"] > 1.6 * notes_per_beat["melancholic"]
    assert notes_per_beat["calm"] < notes_per_beat["melancholic"]
    assert height["dark"] + 1 < height["melancholic"] < height["happy"] - 3
    assert height["calm"] + 3 < height["dreamy"]


def test_every_labelled_instrument_plays_in_every_three_seconds(compositions: list[Composition]) -> None:
    for c in compositions:
        for name in c.instruments:
            notes = [span for part in c.parts if part.instrument == name for span in sounding_s(part, c.bpm)]
            for start in np.arange(0, c.duration_s - 3, 0.5):
                heard_s = sum(max(0.0, min(end, start + 3) - max(begin, start)) for begin, end in notes)
                assert heard_s >= 0.2, f"{name} is absent at {start} s of {c.labels}, seed {c.seed}"


def test_instruments_stay_in_their_registers(compositions: list[Composition]) -> None:
    for c in compositions:
        for part in c.parts:
            if not part.is_percussion:
                pitches = [note.pitch for note in part.notes]
                limits = PITCHED[part.instrument].registers.values()
                assert min(low for low, _ in limits) <= min(pitches)
                assert max(pitches) <= max(high for _, high in limits) + 7, "a power chord reaches above its root"


def test_no_genre_determines_its_instruments() -> None:
    genres_of, instruments_of = defaultdict(set), defaultdict(set)
    for seed in range(400):
        c = compose(ALL_LABELS[seed % len(ALL_LABELS)], seed=seed)
        for name in c.instruments:
            genres_of[name].add(c.labels.genre)
            instruments_of[c.labels.genre].add(name)
    assert len(genres_of) >= 24
    assert min(len(genres) for genres in genres_of.values()) >= 3
    assert min(len(names) for names in instruments_of.values()) >= 12


def test_tables_are_consistent() -> None:
    for genre in GENRES.values():
        patterns = [*genre.bass, *genre.chords, *(pattern for kit in genre.kits for pattern in kit.values())]
        assert {len(pattern) for pattern in patterns} == {genre.grid}
        assert set(genre.moods) <= set(MOODS)
        for role, pool in genre.pools.items():
            assert all(role in PITCHED[name].registers for name in pool)
