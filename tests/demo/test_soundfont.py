"""Tests that instruments sound at the written pitch."""

import numpy as np
import pytest
from symusic import Note, Score, Synthesizer, Tempo, Track

from mulan.demo.instruments import PITCHED
from mulan.demo.rendering import RENDER_RATE_HZ, SOUNDFONT
from mulan.demo.soundfont import in_tune


@pytest.fixture(scope="module")
def tuned_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("soundfont") / "tuned.sf2"
    path.write_bytes(in_tune(SOUNDFONT.read_bytes()))
    return str(path)


def share_at_harmonics(soundfont: str, program: int, pitch: int) -> float:
    """Returns the share of the energy below 5 kHz that is within a third of a semitone of multiples of half the written
    pitch; half, since the drawbars of an organ sound an octave and a fourth below it.
    """
    score = Score(480)
    score.tempos.append(Tempo(0, 120.0))
    track = Track("note", program, False)
    track.notes.append(Note(0, 960, pitch, 100))
    score.tracks.append(track)
    samples = Synthesizer(soundfont, RENDER_RATE_HZ, 0).render(score, True).mean(axis=0)[4_000:40_000]
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 17)) ** 2
    frequency = np.fft.rfftfreq(1 << 17, 1 / RENDER_RATE_HZ)
    half = 220 * 2 ** ((pitch - 69) / 12)
    audible = (frequency > 0.9 * half) & (frequency < 5_000)
    nearest = np.maximum(np.round(frequency / half), 1) * half
    in_place = np.abs(frequency - nearest) < np.minimum(0.02 * nearest, 0.1 * half)
    return float(power[audible & in_place].sum() / power[audible].sum())


def pitches(name: str) -> list[int]:
    limits = PITCHED[name].registers.values()
    return np.linspace(min(low for low, _ in limits), max(high for _, high in limits), 5).round().astype(int).tolist()


@pytest.mark.parametrize("name", sorted(set(PITCHED) - {"accordion"}))  # the soundfont detunes its second reed
def test_instruments_are_in_tune(name: str, tuned_path: str) -> None:
    for program in PITCHED[name].programs:
        shares = {pitch: share_at_harmonics(tuned_path, program, pitch) for pitch in pitches(name)}
        assert np.median(list(shares.values())) > 0.7, shares
        assert min(shares.values()) > 0.3, shares


def test_the_original_soundfont_is_out_of_tune() -> None:
    shares = [share_at_harmonics(str(SOUNDFONT), 40, pitch) for pitch in pitches("violin")]
    assert np.median(shares) < 0.6


def test_a_soundfont_in_tune_is_left_unchanged() -> None:
    once = in_tune(SOUNDFONT.read_bytes())
    assert in_tune(once) == once
