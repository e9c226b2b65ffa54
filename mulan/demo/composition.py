"""Seeded compositions: labels are drawn first, and notes are composed to match them.

A composition is a pure function of its ``CompositionLabels`` and its seed. Every pitched instrument has one part, in a
role with its own register, and plays in nearly every half bar, so that it is audible in any three-second window.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mulan.demo.genres import GENRES, GUEST_CONGAS, MOODS, TEMPI_BPM, Genre, Kit, Mood, Pattern
from mulan.demo.instruments import DRUM_PIECES, PITCHED, Instrument, Role

BEATS_PER_BAR = 4
MIN_DURATION_S = 21.0
ROLE_LEVEL_DB: dict[Role, float] = {"bass": -1.0, "chords": 3.0, "lead": 0.0, "figure": 1.0}
"""Level by role. Chords, many notes of one timbre under a moving lead, need more level to be heard as an instrument."""
FIGURE_SHARE = 0.5
"""Share of compositions with a fourth pitched instrument."""
CROSSOVER_SHARE = 0.15
"""Share of parts assigned to any instrument that can play the role instead of one typical of the genre."""

POOLS_WITH = Counter(name for genre in GENRES.values() for pool in genre.pools.values() for name in pool)
"""Number of pools that contain an instrument; those in few are drawn more often, so that none is rare."""


class Note(NamedTuple):
    """A note: start and duration in beats, MIDI pitch (a key of the kit for percussion), velocity in (0, 1]."""

    start: float
    duration: float
    pitch: int
    velocity: float


@dataclass(frozen=True, kw_only=True)
class CompositionLabels:
    """Labels of a composition, apart from its instruments."""

    genre: str
    mood: str
    tempo: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of one instrument, or of one piece of a percussion set.

    Attributes:
        instrument: Tag of the instrument; all pieces of a percussion set share one.
        program: General MIDI program; 0 for percussion.
        level_db: Level in the mix relative to a lead instrument.
        decay_s: Time constant of the decay of its notes; None if they are sustained.
        tremolo_hz: Rate of its tremolo; None if it has none.
    """

    instrument: str
    program: int
    is_percussion: bool
    level_db: float
    decay_s: float | None
    tremolo_hz: float | None
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A finished composition; ``tonic`` is a pitch class (0 is C)."""

    seed: int
    labels: CompositionLabels
    bpm: float
    tonic: int
    bars: int
    parts: tuple[Part, ...]

    @property
    def duration_s(self) -> float:
        return self.bars * BEATS_PER_BAR * 60 / self.bpm

    @property
    def instruments(self) -> tuple[str, ...]:
        """Distinct instrument tags, pitched instruments first."""
        return tuple(dict.fromkeys(part.instrument for part in self.parts))

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags ``category:text`` for genre, mood, tempo and each instrument."""
        labels = self.labels
        claimed = (f"genre:{labels.genre}", f"mood:{labels.mood}", f"tempo:{labels.tempo}")
        return claimed + tuple(f"instrument:{name}" for name in self.instruments)


def compose(labels: CompositionLabels, *, seed: int) -> Composition:
    """Composes at least ``MIN_DURATION_S`` seconds; the same labels and seed give the same notes."""
    rng = np.random.default_rng(seed)
    genre, mood = GENRES[labels.genre], MOODS[labels.mood]
    bpm = float(rng.uniform(*TEMPI_BPM[labels.tempo]))
    sketch = _Sketch(
        rng=rng,
        genre=genre,
        mood=mood,
        tonic=int(rng.integers(12)),
        bars=math.ceil(MIN_DURATION_S * bpm / (60 * BEATS_PER_BAR)),
        progression=mood.progressions[rng.integers(len(mood.progressions))],
    )
    writers = {"bass": _bass_line, "chords": _chord_part, "lead": _melody, "figure": _figure}
    parts = []
    for role, name in _ensemble(genre, rng).items():
        instrument = PITCHED[name]
        parts.append(
            Part(
                instrument=name,
                program=int(rng.choice(instrument.programs)),
                is_percussion=False,
                level_db=ROLE_LEVEL_DB[role] + instrument.trim_db,
                decay_s=instrument.decay_s,
                tremolo_hz=instrument.tremolo_hz,
                notes=tuple(writers[role](sketch, instrument)),
            )
        )
    parts.extend(_percussion(sketch))
    return Composition(seed=seed, labels=labels, bpm=bpm, tonic=sketch.tonic, bars=sketch.bars, parts=tuple(parts))


@dataclass(frozen=True, kw_only=True)
class _Sketch:
    """Key, chords and random generator that all parts of a composition share."""

    rng: np.random.Generator
    genre: Genre
    mood: Mood
    tonic: int
    bars: int
    progression: tuple[int, ...]

    def chord(self, bar: int) -> int:
        """Returns the scale degree of the chord's root."""
        return self.progression[(bar // self.genre.bars_per_chord) % len(self.progression)]

    def pitch_class(self, degree: int) -> int:
        return (self.tonic + self.mood.mode[degree % 7]) % 12

    def chord_pitch_classes(self, bar: int) -> list[int]:
        thirds = (0, 2, 4, 6) if self.genre.seventh else (0, 2, 4)
        return [self.pitch_class(self.chord(bar) + third) for third in thirds]

    def ladder(self, low: int, high: int) -> list[int]:
        """Returns the pitches of the scale from ``low`` to ``high``."""
        scale = {self.pitch_class(degree) for degree in range(7)}
        return [pitch for pitch in range(low, high + 1) if pitch % 12 in scale]

    def velocity(self, beat: float) -> float:
        """Returns a random velocity with an accent on the beats."""
        accent = 0.85 if float(beat).is_integer() else 0.65
        return float(np.clip(accent + self.rng.normal(0, 0.06), 0.3, 1.0))


def _ensemble(genre: Genre, rng: np.random.Generator) -> dict[Role, str]:
    """Draws a different instrument for each role."""
    roles: list[Role] = ["bass", "chords", "lead"]
    if rng.random() < FIGURE_SHARE:
        roles.append("figure")
    chosen: dict[Role, str] = {}
    for role in roles:
        able = [name for name, instrument in PITCHED.items() if role in instrument.registers]
        pool = able if rng.random() < CROSSOVER_SHARE else genre.pools[role]
        free = [name for name in pool if name not in chosen.values()]
        rarity = np.array([1 / max(1, POOLS_WITH[name]) for name in free])
        chosen[role] = str(rng.choice(free, p=rarity / rarity.sum()))
    return chosen


def _hits(pattern: Pattern) -> Iterator[tuple[float, float, str]]:
    """Yields beat in the bar, beats until the next hit or the end of the bar, and symbol of each hit."""
    step = BEATS_PER_BAR / len(pattern)
    places = [place for place, symbol in enumerate(pattern) if symbol != "."]
    for place, following in zip(places, [*places[1:], len(pattern)], strict=True):
        yield place * step, (following - place) * step, pattern[place]


def _nearest(pitch_class: int, target: float, low: int, high: int) -> int:
    """Returns the pitch of this class in [low, high], at least an octave, that is nearest to the target."""
    return min((pitch for pitch in range(low, high + 1) if pitch % 12 == pitch_class), key=lambda p: abs(p - target))


def _bass_line(sketch: _Sketch, instrument: Instrument) -> Iterator[Note]:
    low, high = instrument.registers["bass"]
    pattern = sketch.genre.bass[sketch.rng.integers(len(sketch.genre.bass))]
    last = (low + high) / 2
    for bar in range(sketch.bars):
        root = sketch.chord(bar)
        for index, (beat, gap, symbol) in enumerate(_hits(pattern)):
            if symbol == "w" and index > 0:
                near = [p for p in sketch.ladder(low, high) if 0 < abs(p - last) <= 4]
                pitch = int(sketch.rng.choice(near))
            else:
                degree = root + {"3": 2, "5": 4}.get(symbol, 0)
                target = high if symbol == "8" else low + 4
                pitch = _nearest(sketch.pitch_class(degree), target, low, high)
            last = pitch
            yield Note(bar * BEATS_PER_BAR + beat, gap * 0.92, pitch, sketch.velocity(beat))


def _voicing(sketch: _Sketch, bar: int, low: int, high: int, centre: float) -> list[int]:
    if sketch.genre.power_chords and high <= 60:
        root = _nearest(sketch.pitch_class(sketch.chord(bar)), low + 5, low, high)
        return [root, root + 7, root + 12]
    return sorted({_nearest(pitch_class, centre, low, high) for pitch_class in sketch.chord_pitch_classes(bar)})


def _chord_part(sketch: _Sketch, instrument: Instrument) -> Iterator[Note]:
    low, high = instrument.registers["chords"]
    pattern = sketch.genre.chords[sketch.rng.integers(len(sketch.genre.chords))]
    shift = float(np.clip(sketch.mood.register_shift / 2, -4, 4))
    centre = (low + high) / 2 + shift + sketch.rng.uniform(-2, 2)
    for bar in range(sketch.bars):
        voicing = _voicing(sketch, bar, low, high, centre)
        for beat, gap, symbol in _hits(pattern):
            duration = gap * 0.95 if symbol == "X" else min(gap, 0.5) * 0.7
            velocity = sketch.velocity(beat)
            for pitch in voicing:
                yield Note(bar * BEATS_PER_BAR + beat, duration, pitch, velocity)


def _rhythm(sketch: _Sketch, notes_per_beat: float) -> list[float]:
    """Returns onsets of a two-bar motif in beats: all half bars, and random others up to the requested density."""
    step = BEATS_PER_BAR / sketch.genre.grid
    count = max(4, round(notes_per_beat * 2 * BEATS_PER_BAR))
    places = np.arange(2 * sketch.genre.grid) * step
    on_beat = places % 1 == 0
    weight = np.where(on_beat, 3.0, np.where(places % 0.5 == 0, 1.5, 0.6))
    half_bars = places % 2 == 0
    others = np.flatnonzero(~half_bars)
    drawn = sketch.rng.choice(
        others, size=min(len(others), count - 4), replace=False, p=weight[others] / weight[others].sum()
    )
    return sorted([*places[half_bars].tolist(), *places[drawn].tolist()])


def _melody(sketch: _Sketch, instrument: Instrument) -> Iterator[Note]:
    """Composes two-bar motifs in the form A A' B A', with recurring rhythm and contour and chord tones on half bars."""
    low, high = instrument.registers["lead"]
    density = sketch.mood.notes_per_beat * sketch.genre.melody_density
    centre = int(np.clip((low + high) // 2 + sketch.mood.register_shift, low + 5, high - 5))
    low, high = max(low, centre - 7), min(high, centre + 7)
    motifs = []
    for _ in range(2):
        rhythm = _rhythm(sketch, density)
        motifs.append((rhythm, sketch.rng.choice([-2, -1, -1, 0, 1, 1, 2], size=len(rhythm))))
    position = float(centre)
    for first_bar in range(0, sketch.bars, 2):
        rhythm, contour = motifs[1 if (first_bar // 2) % 4 == 2 else 0]
        ends = [*rhythm[1:], 2.0 * BEATS_PER_BAR]
        for onset, end, move in zip(rhythm, ends, contour, strict=True):
            bar = first_bar + int(onset // BEATS_PER_BAR)
            if bar >= sketch.bars:
                return
            target = position + 2.0 * move + 0.25 * (centre - position)
            pitch = min(sketch.ladder(low, high), key=lambda p: abs(p - target))
            if onset % 2 == 0:
                pitch = min(
                    (_nearest(pc, target, low, high) for pc in sketch.chord_pitch_classes(bar)),
                    key=lambda p: abs(p - target),
                )
            position = pitch
            duration = max(0.2, (end - onset) * sketch.mood.articulation)
            yield Note(first_bar * BEATS_PER_BAR + onset, duration, pitch, sketch.velocity(onset))


def _figure(sketch: _Sketch, instrument: Instrument) -> Iterator[Note]:
    """Composes broken chords for plucked and struck instruments, a slower second voice for sustained ones."""
    low, high = instrument.registers["figure"]
    genre, centre = sketch.genre, (low + high) / 2 + float(np.clip(sketch.mood.register_shift / 2, -4, 4))
    plucked = instrument.decay_s is not None
    step = BEATS_PER_BAR / genre.grid * (genre.figure_step if plucked else genre.grid // 4)
    order = sketch.rng.permutation([0, 1, 2, 1]) if plucked else np.array([1, 2])
    for bar in range(sketch.bars):
        tones = sorted(_nearest(pc, centre, low, high) for pc in sketch.chord_pitch_classes(bar))
        for index in range(round(BEATS_PER_BAR / step)):
            if not plucked and index % 2 == 1 and sketch.mood.notes_per_beat < 1.5:
                continue
            beat = index * step
            length = step if plucked or sketch.mood.notes_per_beat >= 1.5 else 2 * step
            pitch = tones[order[index % len(order)] % len(tones)]
            yield Note(bar * BEATS_PER_BAR + beat, length * 0.9, pitch, sketch.velocity(beat))


def _percussion(sketch: _Sketch) -> Iterator[Part]:
    genre, rng = sketch.genre, sketch.rng
    if genre.kits:
        yield from _kit_parts(sketch, genre.percussion, genre.kits[rng.integers(len(genre.kits))])
    if rng.random() < genre.guest_congas:
        yield from _kit_parts(sketch, "congas", GUEST_CONGAS)


def _kit_parts(sketch: _Sketch, tag: str, kit: Kit) -> Iterator[Part]:
    for piece, pattern in kit.items():
        notes = tuple(
            Note(bar * BEATS_PER_BAR + beat, 0.25, DRUM_PIECES[piece].key, sketch.velocity(beat))
            for bar in range(sketch.bars)
            for beat, _, _ in _hits(pattern)
        )
        yield Part(
            instrument=tag,
            program=0,
            is_percussion=True,
            level_db=DRUM_PIECES[piece].level_db + sketch.mood.percussion_db,
            decay_s=None,
            tremolo_hz=None,
            notes=notes,
        )
