"""Rendering of a composition: every part is rendered separately, set to its level, and mixed to 16 kHz mono.

The renderer plays samples at constant loudness while a note is held, ignoring key velocity and the soundfont's decay.
Both, and tremolo, are therefore applied here as a gain curve that restarts at every onset of a part.
"""

import io
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pretty_midi
import soundfile
import soxr
from numpy.typing import NDArray
from symusic import Note as ScoreNote
from symusic import Score, Synthesizer, Tempo, Track

from mulan.config.errors import MulanError
from mulan.demo.composition import Composition, Part
from mulan.demo.genres import MOODS
from mulan.demo.soundfont import in_tune


class RenderError(MulanError):
    """A composition cannot be rendered."""


SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
RENDER_RATE_HZ = 44_100
"""Sample rate of the renderer, which may hang at other rates."""
SAMPLE_RATE_HZ = 16_000
TICKS_PER_BEAT = 480
ATTACK_S = 0.003
TREMOLO_DEPTH = 0.6
PEAK_LIMIT = 0.98
DIVERGED_PEAK = 20.0
"""Peak above which a part has diverged: some samples of the soundfont make the renderer's filter unstable."""

Samples = NDArray[np.float32]


def render_flac(composition: Composition) -> bytes:
    """Renders a composition as a 16 kHz mono 16-bit FLAC file.

    Raises:
        RenderError: A part is silent or diverged.
    """
    mono = np.sum(render_stems(composition), axis=0)
    gain = 10 ** (MOODS[composition.labels.mood].loudness_dbfs / 20) / math.sqrt(float(np.mean(mono**2)))
    mastered = _limit(mono * gain)
    file = io.BytesIO()
    soundfile.write(file, np.round(mastered * 32767).astype(np.int16), SAMPLE_RATE_HZ, format="FLAC")
    return file.getvalue()


def render_stems(composition: Composition) -> list[Samples]:
    """Renders each part as a mono signal, float32 [samples] at 16 kHz, at its level in the mix.

    Raises:
        RenderError: A part is silent or diverged.
    """
    length = round(composition.duration_s * SAMPLE_RATE_HZ)
    return [_stem(part, composition, length) for part in composition.parts]


def to_score(part: Part, bpm: float) -> Score:
    """Converts a part to a symbolic score with one track."""
    score = Score(TICKS_PER_BEAT)
    score.tempos.append(Tempo(0, bpm))
    track = Track(part.instrument, part.program, part.is_percussion)
    for note in part.notes:
        start, duration = round(note.start * TICKS_PER_BEAT), max(1, round(note.duration * TICKS_PER_BEAT))
        track.notes.append(ScoreNote(start, duration, note.pitch, round(127 * note.velocity)))
    score.tracks.append(track)
    return score


@cache
def _synthesizer() -> Synthesizer:
    with TemporaryDirectory() as folder:
        path = Path(folder) / SOUNDFONT.name
        path.write_bytes(in_tune(SOUNDFONT.read_bytes()))
        return Synthesizer(str(path), RENDER_RATE_HZ, 0)


def _stem(part: Part, composition: Composition, length: int) -> Samples:
    stereo = _synthesizer().render(to_score(part, composition.bpm), True)
    mono = (stereo[0] + stereo[1]) / 2  # numpy's mean is slow for interleaved channels
    raw = soxr.resample(mono, RENDER_RATE_HZ, SAMPLE_RATE_HZ)[:length]
    if not 0 < np.abs(raw).max(initial=0) < DIVERGED_PEAK:  # false for NaN as well
        raise RenderError(f"composition {composition.seed}: the part of {part.instrument} is silent or diverged")
    played = np.zeros(length, np.float32)
    played[: len(raw)] = raw * _gain_curve(part, composition.bpm, len(raw))
    return played * np.float32(10 ** (part.level_db / 20) / _active_rms(played))


def _gain_curve(part: Part, bpm: float, length: int) -> Samples:
    """Computes a gain for each sample from velocity, decay and tremolo; simultaneous onsets share one velocity."""
    velocities: dict[int, float] = {}
    for note in part.notes:
        onset = round(note.start * 60 / bpm * SAMPLE_RATE_HZ)
        velocities[onset] = max(note.velocity, velocities.get(onset, 0.0))
    onsets = np.array([onset for onset in sorted(velocities) if onset < length])
    levels = np.array([velocities[int(onset)] for onset in onsets], np.float32)
    index = np.repeat(np.arange(len(onsets)), np.diff([0, *onsets[1:], length]))  # last onset before each sample
    gain = levels[index]
    if part.decay_s is not None:
        since_onset_s = (np.arange(length) - onsets[index]) / SAMPLE_RATE_HZ
        gain = gain * np.exp(-np.maximum(since_onset_s, 0) / part.decay_s).astype(np.float32)
    if part.tremolo_hz is not None:
        phase = 2 * np.pi * part.tremolo_hz * np.arange(length) / SAMPLE_RATE_HZ
        gain = gain * (1 - TREMOLO_DEPTH * (0.5 + 0.5 * np.sin(phase))).astype(np.float32)
    window = round(ATTACK_S * SAMPLE_RATE_HZ)
    padded = np.concatenate([np.repeat(gain[:1], window), gain])
    sums = np.cumsum(padded, dtype=np.float64)
    return ((sums[window:] - sums[:-window]) / window).astype(np.float32)


def _active_rms(samples: Samples, block_s: float = 0.1, threshold_db: float = -30.0) -> float:
    """Computes the RMS over blocks within ``threshold_db`` of the loudest, so that rests do not affect the level."""
    block = round(block_s * SAMPLE_RATE_HZ)
    powers = np.mean(samples[: len(samples) // block * block].reshape(-1, block) ** 2, axis=1)
    return math.sqrt(float(powers[powers >= powers.max() * 10 ** (threshold_db / 10)].mean()))


def _limit(samples: Samples) -> Samples:
    """Soft-clips a signal that exceeds full scale."""
    peak = float(np.abs(samples).max())
    return samples if peak <= PEAK_LIMIT else np.tanh(samples) * np.float32(PEAK_LIMIT)
