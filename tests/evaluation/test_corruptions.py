import hashlib
import math
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from mulan.evaluation.corruptions import CORRUPTIONS, STRENGTHS, Corruption
from mulan.evaluation.errors import EvaluationError
from tests.evaluation.melody import melody

RATE_HZ = 16_000
ALL = [(name, strength) for name in CORRUPTIONS for strength in STRENGTHS]
MELODY = melody(RATE_HZ, 3)


def spectral_distance_db(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of spectra in frames of 32 ms, in dB, above 60 dB below the loudest of ``one``."""
    samples, window = min(len(one), len(other)), RATE_HZ * 32 // 1000
    magnitudes = []
    for sound in (one, other):
        frames = np.lib.stride_tricks.sliding_window_view(sound[:samples].astype(float), window)[:: window // 2]
        magnitudes.append(np.abs(np.fft.rfft(frames * np.hanning(window))))
    floor = magnitudes[0].max() / 1000
    levels = [20 * np.log10(each + floor) for each in magnitudes]
    return math.sqrt(np.mean((levels[0] - levels[1]) ** 2))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_is_farther_from_the_recording_than_the_one_before(name: str) -> None:
    distances = [spectral_distance_db(MELODY, Corruption(name, strength)(MELODY, RATE_HZ)) for strength in STRENGTHS]
    assert distances[0] == 0
    assert distances[1] > 0.5
    assert all(after > 1.02 * before for before, after in pairwise(distances[1:]))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_values_change_in_one_direction(name: str) -> None:
    steps = np.diff(CORRUPTIONS[name].values)
    assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_0_is_the_recording_itself(name: str) -> None:
    assert Corruption(name, 0)(MELODY, RATE_HZ).tobytes() == MELODY.tobytes()
    assert Corruption(name, 0).description == "uncorrupted"


@pytest.mark.parametrize(("name", "strength"), ALL)
@pytest.mark.parametrize("rate_hz", [4000, 16_000, 44_100])
def test_any_recording_survives_with_its_length(name: str, strength: int, rate_hz: int) -> None:
    rng = np.random.default_rng(strength)
    loudest = rng.choice(np.array([-32768, 32767], np.int16), 3001)
    for samples in (MELODY[:0], MELODY[100:101], MELODY[100:102], np.full(1, -32768, np.int16), loudest):
        result = Corruption(name, strength)(samples, rate_hz)
        stretch = CORRUPTIONS[name].values[strength - 1] if name == "time_stretch" and strength else 1
        assert (result.dtype, result.ndim) == (np.int16, 1)
        assert len(result) == (max(1, round(len(samples) / stretch)) if len(samples) else 0)


@pytest.mark.parametrize(("name", "strength"), ALL)
def test_silence_stays_silent(name: str, strength: int) -> None:
    assert not Corruption(name, strength)(np.zeros(5000, np.int16), RATE_HZ).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_results_depend_on_the_recording_alone(name: str) -> None:
    corruption, before = Corruption(name, 4), MELODY.copy()
    first = corruption(MELODY, RATE_HZ)
    corruption(MELODY[::-1].copy(), RATE_HZ)
    again = pickle.loads(pickle.dumps(corruption))(MELODY, RATE_HZ)
    assert first.tobytes() == again.tobytes()
    assert before.tobytes() == MELODY.tobytes()


@pytest.mark.processes
def test_another_process_computes_the_same_results() -> None:
    code = (
        "import hashlib\nfrom mulan.evaluation.corruptions import *\nfrom tests.evaluation.melody import melody\n"
        "sound = melody(16_000, 1)\n"
        "for name in reversed(CORRUPTIONS): print(hashlib.sha256(Corruption(name, 3)(sound, 16_000)).hexdigest())"
    )
    here = [Corruption(name, 3)(melody(RATE_HZ, 1), RATE_HZ) for name in reversed(CORRUPTIONS)]
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == [hashlib.sha256(each).hexdigest() for each in here]


@pytest.mark.parametrize("name", ["noise", "reverb"])
def test_different_recordings_get_different_draws(name: str) -> None:
    impulse, later = np.zeros(4000, np.int16), np.zeros(4000, np.int16)
    impulse[0], later[1] = 10_000, 10_000
    one, other = (Corruption(name, 5)(each, RATE_HZ).astype(float) for each in (impulse, later))
    assert abs(np.corrcoef(one[10:-1], other[11:])[0, 1]) < 0.1


def test_loud_results_are_attenuated_and_not_clipped() -> None:
    loud = np.rint(MELODY * (32767 / 24_000)).astype(np.int16)
    noisy = Corruption("noise", 5)(loud, RATE_HZ).astype(float)
    assert np.abs(noisy).max() == 32767
    assert (np.abs(noisy) > 32_000).sum() < 5  # clipped, hundreds of samples would be at full scale
    gain = noisy @ loud / (loud.astype(float) @ loud)
    noise = noisy - gain * loud
    assert 10 * np.log10(np.mean((gain * loud) ** 2) / np.mean(noise**2)) == pytest.approx(0, abs=0.1)


def test_descriptions_state_values_with_units() -> None:
    assert Corruption("noise", 3).description == "white noise, signal-to-noise ratio 10 dB"
    assert Corruption("mp3", 5).description == "MP3, bit rate 8 kbit/s"
    assert Corruption("time_stretch", 5).description == "time stretch, tempo 0.7"


@pytest.mark.parametrize(("name", "strength", "named"), [("echo", 1, "echo"), ("noise", 6, "6"), ("noise", -1, "-1")])
def test_unknown_corruptions_are_refused(name: str, strength: int, named: str) -> None:
    with pytest.raises(EvaluationError, match=named):
        Corruption(name, strength)
