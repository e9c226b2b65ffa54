"""The effects that recordings are corrupted by. Each takes and returns samples in the units of int16, not clipped."""

import math

import av
import numpy as np
import soxr
import torch
from torchaudio.functional import phase_vocoder

from mulan.model.audio.spectral_shapes import FILTERS, fast_fft_length, half_filter_length, steep_filter

MP3_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000)
"""Sample rates of MP3 at which 8 to 64 kbit/s are all defined (ISO/IEC 13818-3, and MPEG 2.5)."""

_STRETCH_WINDOW_S = 0.064
"""Approximate window of the phase vocoder: 1024 samples at 16 kHz, which tell semitones above 250 Hz apart."""
_COMPRESSION_THRESHOLD_DB = -30.0
"""Level, relative to the recording's peak, above which compression acts."""
_ATTACK_DB_PER_S, _RELEASE_DB_PER_S = 6000.0, 100.0
"""How fast the level that controls compression rises, ahead of the sound, and falls after it."""


def time_stretched(signal: np.ndarray, rate_hz: int, tempo: float, rng: np.random.Generator) -> np.ndarray:
    """Plays a signal at another tempo without changing its pitch, by a phase vocoder that keeps the mean power.

    Args:
        signal: float32 [samples].
        rate_hz: Sample rate.
        tempo: The duration is divided by it.
        rng: Not used.

    Returns:
        float64 [samples / tempo], rounded, at least one sample.
    """
    size = 2 ** round(math.log2(max(16, _STRETCH_WINDOW_S * rate_hz)))
    hop = size // 4
    # float64, since phases are summed over all frames
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(
        torch.from_numpy(signal).double(), size, hop, window=window, pad_mode="constant", return_complex=True
    )
    advance = torch.linspace(0, math.pi * hop, size // 2 + 1, dtype=torch.float64)[:, None]
    length = max(1, round(len(signal) / tempo))
    stretched = torch.istft(phase_vocoder(spectrum, tempo, advance), size, hop, window=window, length=length).numpy()
    return _with_power_of(signal, stretched)


def reverberated(signal: np.ndarray, rate_hz: int, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    """Plays a signal in a room of statistical reverberation: white noise that decays exponentially (Polack 1988).

    The energy of the reverberation is proportional to the decay time, as in a diffuse field at a fixed distance from
    the source; that of 1 s has the energy of the direct sound. The reverberation after the end is cut off.

    Args:
        signal: float32 [samples].
        rate_hz: Sample rate.
        decay_s: Time in which the reverberation decays by 60 dB.
        rng: Draws the room.

    Returns:
        float32 [samples].
    """
    times = np.arange(1, max(1, round(decay_s * rate_hz)) + 1) / rate_hz
    # the integral of 10^(-6 t / T) over t is T / (6 ln 10)
    level = math.sqrt(6 * math.log(10) / rate_hz)
    tail = level * rng.standard_normal(len(times)) * 10 ** (-3 * times / decay_s)
    response = np.concatenate([[1.0], tail])[: len(signal)].astype(np.float32)
    size = fast_fft_length(2 * len(signal))
    spectrum = torch.fft.rfft(torch.from_numpy(signal), size) * torch.fft.rfft(torch.from_numpy(response), size)
    return torch.fft.irfft(spectrum, size)[: len(signal)].numpy()


def noisy(signal: np.ndarray, rate_hz: int, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Adds white Gaussian noise.

    Args:
        signal: float32 [samples].
        rate_hz: Not used.
        snr_db: Power of the whole recording over that of the noise.
        rng: Draws the noise.

    Returns:
        float32 [samples].
    """
    noise = rng.standard_normal(len(signal), dtype=np.float32)
    power = np.mean(np.square(signal, dtype=np.float64)) / np.mean(np.square(noise, dtype=np.float64))
    return signal + noise * np.float32(math.sqrt(power * 10 ** (-snr_db / 10)))


def compressed(signal: np.ndarray, rate_hz: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Compresses the dynamic range of what is louder than 30 dB below the peak, and restores the mean power.

    The level follows the peaks of the waveform: it rises by 6000 dB per second, ahead of them, and falls by 100.

    Args:
        signal: float32 [samples].
        rate_hz: Sample rate.
        ratio: The level in dB above the threshold is divided by it.
        rng: Not used.

    Returns:
        float64 [samples].
    """
    peak = np.abs(signal).max()
    if peak == 0:
        return signal
    level_db = 20 * np.log10(np.maximum(np.abs(signal) / np.float64(peak), 1e-5))
    level_db = _falling_slowly(level_db, _RELEASE_DB_PER_S / rate_hz)
    level_db = _falling_slowly(level_db[::-1], _ATTACK_DB_PER_S / rate_hz)[::-1]
    gain_db = (1 / ratio - 1) * np.maximum(level_db - _COMPRESSION_THRESHOLD_DB, 0)
    return _with_power_of(signal, signal * 10 ** (gain_db / 20))


def low_passed(signal: np.ndarray, rate_hz: int, cutoff_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Attenuates by 6 dB at a cutoff frequency and by more than 60 dB at 1.5 times the cutoff.

    Args:
        signal: float32 [samples].
        rate_hz: Sample rate.
        cutoff_hz: Cutoff frequency. Nothing is filtered if it is half the sample rate or more.
        rng: Not used.

    Returns:
        float32 [samples].
    """
    edge = torch.tensor([cutoff_hz / rate_hz], dtype=torch.float64)
    if edge >= 0.5:
        return signal
    weights = torch.tensor([FILTERS["low-pass"]])
    half_length = half_filter_length(edge.item())
    return steep_filter(torch.from_numpy(signal)[None], weights, edge, edge, half_length=half_length)[0].numpy()


def mp3_coded(signal: np.ndarray, rate_hz: int, kbit_per_s: float, rng: np.random.Generator) -> np.ndarray:
    """Encodes a signal as MP3 of constant bit rate by LAME, and decodes it, without delay.

    Signals at other rates than :data:`MP3_RATES_HZ` are resampled to the next lower of them, and back.

    Args:
        signal: float32 [samples], in the range of int16.
        rate_hz: Sample rate.
        kbit_per_s: Bit rate: 8 to 64, one that MP3 has.
        rng: Not used.

    Returns:
        float32 [samples].
    """
    coded_hz = max((rate for rate in MP3_RATES_HZ if rate <= rate_hz), default=MP3_RATES_HZ[0])
    coded = soxr.resample(signal, rate_hz, coded_hz) if coded_hz != rate_hz else signal
    decoded = _through_lame(np.clip(np.rint(coded), -32768, 32767).astype(np.int16), coded_hz, round(kbit_per_s * 1000))
    if coded_hz != rate_hz:
        decoded = soxr.resample(decoded, coded_hz, rate_hz)
    result = np.zeros(len(signal), np.float32)
    result[: len(decoded)] = decoded[: len(signal)]
    return result


def requantised(signal: np.ndarray, rate_hz: int, bits: float, rng: np.random.Generator) -> np.ndarray:
    """Rounds samples to evenly spaced levels, without dither: zero and as many up to the peak on either side.

    Args:
        signal: float32 [samples].
        rate_hz: Not used.
        bits: Number of bits; there are ``2**bits - 1`` levels.
        rng: Not used.

    Returns:
        float64 [samples].
    """
    step = np.abs(signal).max() / np.float64(2 ** (bits - 1) - 1)
    return np.rint(signal / step) * step if step else signal


def _with_power_of(signal: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Returns a changed signal, float64 [samples], with the mean power of the signal before."""
    power, now = (np.mean(np.square(each, dtype=np.float64)) for each in (signal, changed))
    return changed * math.sqrt(power / now) if now else changed


def _falling_slowly(level_db: np.ndarray, fall_db: float) -> np.ndarray:
    """Returns the smallest levels that are not below these, and fall by at most ``fall_db`` from one to the next."""
    ramp = fall_db * np.arange(len(level_db))
    return np.maximum.accumulate(level_db + ramp) - ramp


def _through_lame(samples: np.ndarray, rate_hz: int, bit_per_s: int) -> np.ndarray:
    """Returns the decoded samples, float32 in the units of int16; FFmpeg removes the delay of both coders."""
    encoder = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate_hz, "mono", "s16p", bit_per_s
    encoder.open()
    decoder = av.CodecContext.create("mp3float", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    packets = []
    for start in range(0, len(samples), encoder.frame_size):
        part = samples[None, start : start + encoder.frame_size]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16p", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    parts = [frame.to_ndarray()[0] for packet in (*packets, None) for frame in decoder.decode(packet)]
    return np.concatenate(parts) * 32768
