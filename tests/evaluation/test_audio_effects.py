"""Measures the effects of corruptions physically, on the results of :class:`Corruption`."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch

from mulan.evaluation.corruptions import CORRUPTIONS, Corruption
from tests.evaluation.melody import melody, sine

RATE_HZ = 16_000


def strengths(name: str) -> list[tuple[Corruption, float]]:
    return [(Corruption(name, number + 1), value) for number, value in enumerate(CORRUPTIONS[name].values)]


def decibels(power_ratio: float) -> float:
    return 10 * float(np.log10(power_ratio))


def power(sound: np.ndarray) -> float:
    return float(np.mean(np.square(sound, dtype=np.float64)))


def crest_factor_db(sound: np.ndarray) -> float:
    return decibels(np.abs(sound.astype(float)).max() ** 2 / power(sound))


@pytest.mark.parametrize(("corruption", "snr_db"), strengths("noise"))
def test_noise_has_the_stated_level_and_a_flat_spectrum(corruption: Corruption, snr_db: float) -> None:
    clean = melody(RATE_HZ, 4) // 4
    noise = corruption(clean, RATE_HZ).astype(float) - clean
    assert decibels(power(clean) / power(noise)) == pytest.approx(snr_db, abs=0.05)
    _, density = welch(noise, RATE_HZ, nperseg=256)
    assert density[1:-1].max() / density[1:-1].min() < 2
    assert abs(np.corrcoef(noise, clean)[0, 1]) < 0.02


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize(("corruption", "cutoff_hz"), strengths("low_pass"))
def test_a_low_pass_removes_what_is_above_its_cutoff(corruption: Corruption, cutoff_hz: float, rate_hz: int) -> None:
    noise = np.rint(np.random.default_rng(0).normal(0, 5000, rate_hz * 4)).clip(-32768, 32767).astype(np.int16)
    hz, before = welch(noise, rate_hz, nperseg=4096)
    _, after = welch(corruption(noise, rate_hz), rate_hz, nperseg=4096)
    gain_db = 10 * np.log10(after / before)
    assert np.abs(gain_db[(hz > 10) & (hz < 0.6 * cutoff_hz)]).max() < 0.5
    assert gain_db[hz > 1.55 * cutoff_hz].max() < -50  # rounding to int16 leaves noise at -85 dB
    assert gain_db[np.argmin(np.abs(hz - cutoff_hz))] == pytest.approx(-6, abs=1.5)


def test_a_low_pass_above_half_the_sample_rate_changes_nothing() -> None:
    sound = melody(8000, 0.5)
    np.testing.assert_array_equal(Corruption("low_pass", 1)(sound, 8000), sound)


@pytest.mark.parametrize("gain", [1.0, 0.01])
@pytest.mark.parametrize(("corruption", "bits"), strengths("bit_depth"))
def test_few_bits_leave_few_levels_evenly_spaced_up_to_the_peak(
    corruption: Corruption, bits: float, gain: float
) -> None:
    clean = np.rint(melody(RATE_HZ, 4) * gain).astype(np.int16)
    rounded = corruption(clean, RATE_HZ)
    levels = np.unique(rounded)
    assert 2 ** (bits - 1) / 2 < len(levels) <= 2**bits
    peak = np.abs(clean).max()
    assert np.abs(rounded).max() == peak
    step = peak / (2 ** (bits - 1) - 1)
    np.testing.assert_allclose(levels, np.rint(np.rint(levels / step) * step), atol=0)
    assert np.abs(rounded.astype(int) - clean).max() <= step / 2 + 1


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 32_000, 44_100])
@pytest.mark.parametrize(("corruption", "kbit_per_s"), strengths("mp3"))
def test_mp3_is_lossy_and_aligned(corruption: Corruption, kbit_per_s: float, rate_hz: int) -> None:
    clean = melody(rate_hz, 1.5).astype(float)
    decoded = corruption(clean.astype(np.int16), rate_hz).astype(float)
    size = 2 * len(clean)
    correlation = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(clean, size)), size)
    assert np.argmax(correlation) == 0
    gain = decoded @ clean / (clean @ clean)
    assert gain == pytest.approx(1, abs=0.15)  # LAME attenuates a little at low rates
    error_db = decibels(power(clean) / power(decoded / gain - clean))
    assert 3 < error_db < 60


def test_mp3_at_low_rates_loses_high_frequencies_first() -> None:
    noise = np.rint(np.random.default_rng(0).normal(0, 3000, RATE_HZ * 3)).astype(np.int16)
    hz, before = welch(noise, RATE_HZ, nperseg=512)
    bandwidths = []
    for strength in (1, 3, 5):
        _, after = welch(Corruption("mp3", strength)(noise, RATE_HZ), RATE_HZ, nperseg=512)
        bandwidths.append(hz[after > 0.1 * before].max())
    assert bandwidths == sorted(bandwidths, reverse=True)
    assert bandwidths[0] > 7000
    assert bandwidths[2] < 5000


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize(("corruption", "tempo"), strengths("time_stretch"))
def test_time_stretch_changes_the_duration_and_keeps_pitch_and_power(
    corruption: Corruption, tempo: float, rate_hz: int
) -> None:
    clean = sine(rate_hz, 2, 440)
    stretched = corruption(clean, rate_hz)
    assert len(stretched) == round(len(clean) / tempo)
    spectrum = np.abs(np.fft.rfft(stretched * np.hanning(len(stretched)), 2**18))
    assert np.argmax(spectrum) * rate_hz / 2**18 == pytest.approx(440, abs=1)
    assert power(stretched) == pytest.approx(power(clean), rel=0.01)
    near = np.abs(np.fft.rfftfreq(2**18, 1 / rate_hz) - 440) < 20
    assert decibels((spectrum[near] ** 2).sum() / (spectrum[~near] ** 2).sum()) > 20  # still a pure tone


@pytest.mark.parametrize(("corruption", "tempo"), strengths("time_stretch"))
def test_time_stretch_moves_onsets_by_the_factor(corruption: Corruption, tempo: float) -> None:
    clean = np.zeros(RATE_HZ * 4)
    onsets = (np.arange(7) + 0.5) * RATE_HZ // 2
    noise = np.random.default_rng(0).normal(0, 4000, RATE_HZ // 10)
    for onset in onsets.astype(int):
        clean[onset : onset + len(noise)] = noise
    stretched = corruption(np.rint(clean).astype(np.int16), RATE_HZ).astype(float)
    for onset in onsets:
        centre = round((onset + len(noise) / 2) / tempo)
        half = round(RATE_HZ / 4 / tempo)
        part = stretched[centre - half : centre + half] ** 2
        place = np.sum(np.arange(len(part)) * part) / part.sum()
        assert abs(place - half) < 0.02 * RATE_HZ


@pytest.mark.parametrize(("corruption", "decay_s"), strengths("reverb"))
def test_reverberation_decays_by_60_db_in_the_stated_time(corruption: Corruption, decay_s: float) -> None:
    impulse = np.zeros(RATE_HZ * 5, np.int16)
    impulse[100] = 32767
    response = corruption(impulse, RATE_HZ).astype(float)
    assert not response[:100].any()
    assert response[100] == pytest.approx(32767, abs=1)
    tail = response[101:] / response[100]
    assert decibels(np.sum(tail**2)) == pytest.approx(decibels(decay_s), abs=0.5)
    # Schroeder's backward integral between -5 and -25 dB (ISO 3382), where rounding to int16 does not matter
    decay_db = 10 * np.log10(np.cumsum(tail[: int(decay_s * RATE_HZ / 2)][::-1] ** 2)[::-1] / np.sum(tail**2))
    first, last = np.argmax(decay_db < -5), np.argmax(decay_db < -25)
    slope = np.polyfit(np.arange(first, last) / RATE_HZ, decay_db[first:last], 1)[0]
    assert -60 / slope == pytest.approx(decay_s, rel=0.1)


def test_compression_reduces_the_crest_factor_more_at_higher_ratios_and_keeps_the_power() -> None:
    clean = melody(RATE_HZ, 4)
    crests = [crest_factor_db(clean)]
    for corruption, _ in strengths("compression"):
        compressed = corruption(clean, RATE_HZ)
        crests.append(crest_factor_db(compressed))
        assert decibels(power(compressed) / power(clean)) == pytest.approx(0, abs=0.01)
    assert all(after < before - 0.2 for before, after in pairwise(crests))
    assert crests[-1] < crests[0] - 3


@pytest.mark.parametrize(("corruption", "ratio"), strengths("compression"))
def test_compression_divides_level_differences_above_the_threshold_by_the_ratio(
    corruption: Corruption, ratio: float
) -> None:
    loud, soft, softest = (sine(RATE_HZ, 1, 1000, peak=20_000 * 10 ** (db / 20)) for db in (0, -20, -45))
    result = corruption(np.concatenate([soft, loud, soft, softest]), RATE_HZ).astype(float)
    middles = [result[round((second + 0.6) * RATE_HZ) : round((second + 0.9) * RATE_HZ)] for second in range(4)]
    first_soft, after_loud, second_soft, below = map(power, middles)
    assert decibels(after_loud / first_soft) == pytest.approx(20 / ratio, abs=0.5)
    assert decibels(second_soft / first_soft) == pytest.approx(0, abs=0.2)
    assert decibels(second_soft / below) == pytest.approx(15 + 10 / ratio, abs=0.5)


def test_compression_of_a_steady_tone_adds_little_distortion() -> None:
    clean = sine(RATE_HZ, 1, 100)
    compressed = Corruption("compression", 5)(clean, RATE_HZ).astype(float)[RATE_HZ // 10 :]
    harmonics = sosfiltfilt(butter(6, 200, "highpass", fs=RATE_HZ, output="sos"), compressed)
    assert decibels(power(compressed) / power(harmonics)) > 30
