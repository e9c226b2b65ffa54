"""Decoding of whole recordings, or of single windows of them, to int16 mono samples at the model's rate.

Supports every format of libsndfile and FFmpeg; see :mod:`mulan.data.audio.sound` for how files are read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soxr

from mulan.data.audio.samples import mix_down, round_to_int16, to_float32
from mulan.data.audio.sound import MAX_CACHED_SAMPLES, CannotSeek, Sound, seekable_sound, streamed_sound
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
    yield from opened_windows(audio, window_samples, sample_rate_hz=sample_rate_hz).windows


@dataclass(frozen=True, eq=False)
class OpenedWindows:
    """The windows that cover a recording, which are decoded while they are taken."""

    samples: int
    """Number of samples of the recording."""
    seconds: float
    """Duration of the recording in seconds."""
    starts: np.ndarray
    """Sample of the recording at which each window begins, int64 [windows]."""
    windows: Iterator[np.ndarray]
    """The windows, int16 [window_samples], in their order."""


def opened_windows(
    audio: bytes | str,
    window_samples: int,
    *,
    sample_rate_hz: int,
    start_s: float | None = None,
    end_s: float | None = None,
) -> OpenedWindows:
    """Returns the windows of :func:`covering_windows`, and what is known before they are decoded.

    Args:
        audio: Encoded file or its path.
        window_samples: Length of a window in samples.
        sample_rate_hz: Sample rate of the windows.
        start_s: Start in seconds of the part of the audio that is the recording; None for its start.
        end_s: End in seconds of that part; None, or more than there is, for the end of the audio.

    Raises:
        DecodeError: As in :func:`decode_recording`, or the part is empty. Damage outside a part may go undetected.
    """
    with path_in_errors(audio):
        file = audio_source(audio)
        if start_s is None and end_s is None:
            sound = streamed_sound(file, sample_rate_hz)
            return _opened(sound.blocks(), 0, sound.samples, sound.seconds, window_samples)
        seekable = seekable_sound(file, sample_rate_hz)
        if seekable:
            first, count = _part(seekable, sample_rate_hz, start_s, end_s)
            if count <= MAX_CACHED_SAMPLES:
                try:
                    part = np.empty(count, np.int16)
                    seekable.fill(part, first)
                    return _opened(iter([part]), 0, count, count / sample_rate_hz, window_samples)
                except CannotSeek:
                    pass  # decode everything before the part as well
        sound = streamed_sound(file, sample_rate_hz)
        first, count = _part(sound, sample_rate_hz, start_s, end_s)
        return _opened(sound.blocks(), first, count, count / sample_rate_hz, window_samples)


def _part(sound: Sound, rate_hz: int, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Returns the first sample and the number of samples of a part of a recording."""
    first = round((start_s or 0) * rate_hz)
    last = sound.samples if end_s is None else min(sound.samples, round(end_s * rate_hz))
    if first >= last:
        raise DecodeError(
            "no samples", f"{sound.seconds:.3g} s of audio have nothing of the part from {first / rate_hz:g} s"
        )
    return first, last - first


def _opened(blocks: Iterator[np.ndarray], first: int, count: int, seconds: float, window_samples: int) -> OpenedWindows:
    """Returns the windows of ``count`` samples from sample ``first`` of the blocks on."""
    starts = evenly_spaced_windows(count, window_samples)
    return OpenedWindows(count, seconds, starts, _cut(blocks, starts + first, first + count, window_samples))


def _cut(blocks: Iterator[np.ndarray], starts: np.ndarray, last: int, window_samples: int) -> Iterator[np.ndarray]:
    """Yields the windows that begin at these samples of the blocks, and are silent from sample ``last`` on."""
    buffer, first = np.zeros(0, np.int16), 0
    for start in starts.tolist():
        end = min(start + window_samples, last)
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
