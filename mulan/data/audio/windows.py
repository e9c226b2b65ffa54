"""Decoding of whole recordings, or of single windows of them, to int16 mono samples at the model's rate.

Supports every format of libsndfile and FFmpeg; see :mod:`mulan.data.audio.sound` for how files are read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soxr

from mulan.data.audio.samples import mix_down, round_to_int16, to_float32
from mulan.data.audio.sound import CannotSeek, Sound, seekable_sound, streamed_sound
from mulan.data.audio.source import audio_source
from mulan.data.errors import DecodeError

_ANY_RATE_HZ = 16_000
"""Sample rate that is used when only the duration is needed."""


def decode_window(
    audio: bytes, window: np.ndarray, *, draw: float, sample_rate_hz: int, min_duration_s: float = 0.0
) -> int:
    """Fills a window with a mono excerpt of a recording and returns the number of samples that come from it.

    The samples equal those of :func:`decode_recording` from index ``int(draw * (samples - window + 1))`` on.

    Args:
        audio: Encoded file.
        window: Buffer to fill, contiguous int16 [samples]; a shorter recording is padded with silence. The content is
            undefined after an error.
        draw: Position of the window in [0, 1), relative to the first and last possible positions.
        sample_rate_hz: Sample rate of the window.
        min_duration_s: Minimum duration of the recording; shorter ones are rejected, before decoding if possible.

    Raises:
        DecodeError: The recording is undecodable, truncated, damaged, empty or too short, its rate is invalid, or a
            sample is not finite.
    """
    file = audio_source(audio)
    sound = seekable_sound(file, sample_rate_hz)
    if sound:
        try:
            return _fill(sound, window, draw=draw, min_duration_s=min_duration_s)
        except CannotSeek:
            pass  # decode everything before the window as well
    return _fill(streamed_sound(file, sample_rate_hz), window, draw=draw, min_duration_s=min_duration_s)


def _fill(sound: Sound, window: np.ndarray, *, draw: float, min_duration_s: float) -> int:
    if not sound.samples:
        raise DecodeError("no samples", f"{sound.seconds:.3g} s are less than one sample")
    if sound.seconds < min_duration_s:
        raise DecodeError("too short", f"{sound.seconds:.3g} s of audio, less than {min_duration_s:g} s")
    start, count = int(draw * (max(0, sound.samples - len(window)) + 1)), min(len(window), sound.samples)
    sound.fill(window[:count], start)
    window[count:] = 0
    return count


def decode_views(
    audio: bytes, views: np.ndarray, *, draw: float, sample_rate_hz: int, min_duration_s: float = 0.0
) -> None:
    """Fills adjacent mono windows of a recording (SemiSupCon's views).

    If the recording is shorter than all windows together, they overlap, evenly spaced from its start to its end; the
    code of SemiSupCon's authors then draws each at random. If it is shorter than one window, each window contains the
    whole recording, padded with silence.

    Args:
        audio: Encoded file.
        views: Buffer to fill, contiguous int16 [views, samples]. The content is undefined after an error.
        draw: Position of the windows, in [0, 1).
        sample_rate_hz: Sample rate of the windows.
        min_duration_s: As in :func:`decode_window`.

    Raises:
        DecodeError: As in :func:`decode_window`.
    """
    count, samples = views.shape
    filled = decode_window(
        audio, views.reshape(-1), draw=draw, sample_rate_hz=sample_rate_hz, min_duration_s=min_duration_s
    )
    if filled < views.size and count > 1:
        excerpt = views.reshape(-1)[: max(filled, samples)].copy()
        for view, start in zip(views, np.linspace(0, len(excerpt) - samples, count).round().astype(int), strict=True):
            view[:] = excerpt[start : start + samples]


def decode_recording(audio: bytes | str, *, sample_rate_hz: int) -> np.ndarray:
    """Decodes a whole recording, given by its bytes or its path, to mono int16 [samples].

    Raises:
        DecodeError: As in :func:`decode_window`, and if the path cannot be read.
    """
    with path_in_errors(audio):
        sound = streamed_sound(audio_source(audio), sample_rate_hz)
        if sound.cached is not None:
            return sound.cached
        recording = np.empty(sound.samples, np.int16)
        sound.fill(recording, 0)
        return recording


def covering_windows(audio: bytes | str, window_samples: int, *, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Yields the fewest windows that cover a recording, without holding all of it in memory.

    Args:
        audio: Encoded file or its path.
        window_samples: Length of a window in samples.
        sample_rate_hz: Sample rate of the windows.

    Yields:
        Windows, int16 [window_samples], evenly spaced from the first sample of the recording to the last; they overlap
        if it is not a whole number of windows. A shorter recording yields one window, padded with silence.

    Raises:
        DecodeError: As in :func:`decode_recording`, before the first window.
    """
    with path_in_errors(audio):
        sound = streamed_sound(audio_source(audio), sample_rate_hz)
    blocks, buffer, first = sound.blocks(), np.zeros(0, np.int16), 0
    for start in evenly_spaced_windows(sound.samples, window_samples).tolist():
        end = min(start + window_samples, sound.samples)
        while first + len(buffer) < end:
            block = next(blocks)
            rest = buffer[start - first :]
            first = first + len(buffer) - len(rest)
            buffer = np.concatenate([rest, block]) if len(rest) else block
        window = np.zeros(window_samples, np.int16)
        window[: end - start] = buffer[start - first : end - first]
        yield window


def duration_s(audio: bytes | str) -> float:
    """Returns the duration in seconds of an encoded file, given by its bytes or its path.

    Raises:
        DecodeError: As in :func:`decode_recording`, except that damage inside a file may go undetected.
    """
    with path_in_errors(audio):
        file = audio_source(audio)
        return (seekable_sound(file, _ANY_RATE_HZ) or streamed_sound(file, _ANY_RATE_HZ)).seconds


@contextmanager
def path_in_errors(audio: bytes | str) -> Iterator[None]:
    """Adds the path of a file to the message of a DecodeError."""
    try:
        yield
    except DecodeError as error:
        if isinstance(audio, str) and error.reason != "missing file":
            raise DecodeError(error.reason, f"{audio}: {error.detail}") from error
        raise


def to_mono_int16(samples: np.ndarray, from_rate_hz: int, to_rate_hz: int) -> np.ndarray:
    """Mixes samples down to mono and resamples them.

    Args:
        samples: Samples, int16 or float in [-1, 1], [frames, channels].
        from_rate_hz: Sample rate of the samples in Hz.
        to_rate_hz: Sample rate of the result in Hz.

    Returns:
        Samples, int16 [frames * to_rate_hz / from_rate_hz].
    """
    mono = mix_down(np.asarray(samples, samples.dtype.newbyteorder("=")))
    if from_rate_hz != to_rate_hz:
        mono = soxr.resample(to_float32(mono), from_rate_hz, to_rate_hz)
    return round_to_int16(mono)


def evenly_spaced_windows(samples: int, window_samples: int) -> np.ndarray:
    """Returns the starts of the fewest windows that cover a recording, evenly spaced from start to end, int64 [n]."""
    count = max(1, -(-samples // window_samples))
    return np.linspace(0, max(0, samples - window_samples), count).round().astype(np.int64)
