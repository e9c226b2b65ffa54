"""Operations on decoded samples: mixing down to mono, resampling, and rounding to int16."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from mulan.data.audio.source import AudioSource
from mulan.data.errors import DecodeError

RATES_HZ = (1000, 1_000_000)
"""Valid range of sample rates in Hz; with other rates, a window would have a few samples, or gigabytes."""

Block = tuple[np.ndarray, int]
"""Contiguous mono samples, [frames], int16 or float32 in [-1, 1], and their rate in Hz."""


def mix_down(samples: np.ndarray) -> np.ndarray:
    """Returns the mean over the channels: [frames, channels] to [frames].

    The result is int16 for mono int16, and float32 in [-1, 1] otherwise.
    """
    frames, channels = samples.shape
    if channels == 1 and samples.dtype in (np.int16, np.float32):
        return samples[:, 0]
    mono = np.zeros(frames, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # non-finite results are rejected later
        for channel in range(channels):  # by column: NumPy computes means of many short rows slowly
            mono += samples[:, channel]
    mono /= channels * (32768.0 if samples.dtype == np.int16 else 1.0)
    return mono


def validated_block(mono: np.ndarray, rate_hz: int) -> Block:
    """Returns a block of samples after checking them.

    Raises:
        DecodeError: A sample is not finite, or the rate is invalid.
    """
    check_rate(rate_hz)
    if mono.dtype != np.int16 and not np.isfinite(mono).all():
        raise DecodeError("samples not finite", "NaN or infinite samples")
    return mono, rate_hz


def check_rate(rate_hz: int) -> None:
    """Checks a sample rate.

    Raises:
        DecodeError: The rate is invalid.
    """
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise DecodeError("impossible sample rate", f"{rate_hz} Hz is not from {RATES_HZ[0]} to {RATES_HZ[1]} Hz")


def resample_blocks(blocks: Iterable[Block], rate_hz: int) -> Iterator[np.ndarray]:
    """Resamples consecutive blocks, whose rates may differ, to int16 [samples] at one rate."""
    resampler, input_hz = None, 0
    for mono, block_hz in blocks:
        if resampler and block_hz != input_hz:
            yield round_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            resampler = None
        if block_hz == rate_hz:
            yield round_to_int16(mono)
            continue
        if not resampler:
            resampler, input_hz = soxr.ResampleStream(block_hz, rate_hz, 1, dtype="float32"), block_hz
        yield round_to_int16(resampler.resample_chunk(to_float32(mono)))
    if resampler:
        yield round_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def resampled_length(frames: int, from_rate_hz: int, to_rate_hz: int) -> int:
    """Returns the number of samples after resampling, rounded as by soxr."""
    return math.floor(frames / (from_rate_hz / to_rate_hz) + 0.5)


def to_float32(mono: np.ndarray) -> np.ndarray:
    """Converts int16 or float32 samples to float32 [samples] in [-1, 1]."""
    scaled = mono.astype(np.float32) / np.float32(32768) if mono.dtype == np.int16 else mono
    return np.ascontiguousarray(scaled)


def round_to_int16(mono: np.ndarray) -> np.ndarray:
    """Converts int16 or float samples in [-1, 1] to int16 [samples], with clipping."""
    if mono.dtype == np.int16:
        return mono
    scaled = np.rint(np.clip(mono, -1.0, 1.0) * 32768.0)
    return np.minimum(scaled, 32767).astype(np.int16)


BLOCK_FRAMES = 2**17
"""Number of frames in a block: each block has a fixed cost, and memory must not depend on the length of a file."""


@dataclass
class DecodeStatus:
    """Progress and outcome of decoding a file, updated while its blocks are consumed."""

    seconds: float = 0.0
    """Duration decoded so far, in seconds."""
    fault: str = ""
    """Message of the error that ended decoding; empty if the end was reached without one."""
    damaged: bool = False
    """Whether more packets in the middle of the file are damaged than tolerated."""
    intact_s: float = math.inf
    """Duration in seconds before the first damaged or missing packet that intact ones follow; infinite without one."""
    truncated: str = ""
    """What shows that the end of the file is missing, although all that is there can be decoded; empty for nothing."""


Decoder = Callable[[AudioSource, DecodeStatus], Iterator[Block]]
"""A function that yields the blocks of a file. A damaged file ends them and sets the status; non-finite samples and
invalid rates raise a DecodeError."""
