"""Decoded samples: mixed down to mono, brought to another rate, and rounded to int16."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from mulan.data.audio.encoded import Encoded
from mulan.data.errors import DecodeError

RATES_HZ = (1000, 1_000_000)
"""What a header may say; a rate outside would make a window a few samples, or gigabytes."""

Block = tuple[np.ndarray, int]
"""Adjacent samples of a recording, mono, [frames], int16 or float32 in [-1, 1]; and their rate in Hz."""


def mix_down(samples: np.ndarray) -> np.ndarray:
    """The mean of all channels, [frames], of [frames, channels].

    int16 of mono int16 in [-32768, 32767], float32 in [-1, 1] otherwise.
    """
    frames, channels = samples.shape
    if channels == 1 and samples.dtype in (np.int16, np.float32):
        return samples[:, 0]
    mono = np.zeros(frames, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite afterwards is refused
        for channel in range(channels):  # whole columns: NumPy is slow at the mean of many short rows
            mono += samples[:, channel]
    mono /= channels * (32768.0 if samples.dtype == np.int16 else 1.0)
    return mono


def checked(mono: np.ndarray, rate_hz: int) -> Block:
    """A block of these samples.

    Raises:
        DecodeError: samples that are not numbers, or a rate that no sound has.
    """
    check_rate(rate_hz)
    if mono.dtype != np.int16 and not np.isfinite(mono).all():
        raise DecodeError("samples not finite", "NaN or infinite samples")
    return mono, rate_hz


def check_rate(rate_hz: int) -> None:
    """
    Raises:
        DecodeError: a rate that no sound has.
    """
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise DecodeError("impossible sample rate", f"{rate_hz} Hz is not from {RATES_HZ[0]} to {RATES_HZ[1]} Hz")


def at_rate(blocks: Iterable[Block], rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks of a recording from its start as int16 [samples] at one rate; their own may change between them."""
    resampler, of_hz = None, 0
    for mono, block_hz in blocks:
        if resampler and block_hz != of_hz:
            yield round_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            resampler = None
        if block_hz == rate_hz:
            yield round_to_int16(mono)
            continue
        if not resampler:
            resampler, of_hz = soxr.ResampleStream(block_hz, rate_hz, 1, dtype="float32"), block_hz
        yield round_to_int16(resampler.resample_chunk(as_float32(mono)))
    if resampler:
        yield round_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def samples_at(frames: int, from_rate_hz: int, to_rate_hz: int) -> int:
    """How many samples so many frames are at another rate, rounded as soxr does it."""
    return math.floor(frames / (from_rate_hz / to_rate_hz) + 0.5)


def as_float32(mono: np.ndarray) -> np.ndarray:
    """[samples] in [-1, 1], of int16 or float32."""
    scaled = mono.astype(np.float32) / np.float32(32768) if mono.dtype == np.int16 else mono
    return np.ascontiguousarray(scaled)


def round_to_int16(mono: np.ndarray) -> np.ndarray:
    """int16 [samples], of int16 or of float in [-1, 1]; what is louder is clipped."""
    if mono.dtype == np.int16:
        return mono
    scaled = np.rint(np.clip(mono, -1.0, 1.0) * 32768.0)
    return np.minimum(scaled, 32767).astype(np.int16)


FRAMES_AT_ONCE = 2**17
"""What is decoded at a time: what is done with a block has its price, and memory must not depend on a file's length."""


@dataclass
class Decoding:
    """How a file's decoding ended; told while its blocks are taken."""

    seconds: float = 0.0
    """Seconds of sound that were decoded until now."""
    fault: str = ""
    """What kept it from going on; empty where it came to the end without a fault."""
    damaged: bool = False
    """Whether more is lost in the middle than can be passed over."""


Decoder = Callable[[Encoded, Decoding], Iterator[Block]]
"""Blocks of a file. What is wrong with the file ends them and stands in the Decoding; samples that are not numbers and
rates that no sound has are raised as a DecodeError."""
