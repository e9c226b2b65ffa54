"""Audio files to int16 mono samples at the model's rate: the whole recording, or one window without decoding the rest.

A file may be anything that libsndfile or FFmpeg reads. How it is read: :mod:`mulan.data.audio.sound`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soxr

from mulan.data.audio.encoded import encoded
from mulan.data.audio.samples import as_float32, mix_down, round_to_int16
from mulan.data.audio.sound import CannotSeek, Sound, seekable_sound, streamed_sound
from mulan.data.errors import DecodeError

_ANY_RATE_HZ = 16_000
"""For those who ask for seconds alone."""


def decode_window(
    audio: bytes, window: np.ndarray, *, draw: float, sample_rate_hz: int, min_duration_s: float = 0.0
) -> int:
    """Fills a window with a part of a recording, mono, and returns how many of its samples are the recording's.

    The samples are those that :func:`decode_recording` gives from number ``int(draw * (samples - window + 1))`` on.

    Args:
        audio: an encoded file.
        window: int16 [samples], contiguous, to be filled; a shorter recording is followed by silence. After an error it
            holds anything.
        draw: in [0, 1): which of all possible windows, from the first to the last.
        sample_rate_hz: of the window.
        min_duration_s: a recording with less sound than this is refused, where it can be before it is decoded.

    Raises:
        DecodeError: undecodable, cut off, damaged, empty or too short, of an impossible rate, or with samples that are
            not numbers.
    """
    file = encoded(audio)
    sound = seekable_sound(file, sample_rate_hz)
    if sound:
        try:
            return _fill(sound, window, draw=draw, min_duration_s=min_duration_s)
        except CannotSeek:
            pass  # what is in front of the window is then decoded as well
    return _fill(streamed_sound(file, sample_rate_hz), window, draw=draw, min_duration_s=min_duration_s)


def _fill(sound: Sound, window: np.ndarray, *, draw: float, min_duration_s: float) -> int:
    if not sound.samples:
        raise DecodeError("no samples", f"{sound.seconds:.3g} s are less than one")
    if sound.seconds < min_duration_s:
        raise DecodeError("too short", f"{sound.seconds:.3g} s of sound, less than {min_duration_s:g} s")
    start, count = int(draw * (max(0, sound.samples - len(window)) + 1)), min(len(window), sound.samples)
    sound.fill(window[:count], start)
    window[count:] = 0
    return count


def decode_views(
    audio: bytes, views: np.ndarray, *, draw: float, sample_rate_hz: int, min_duration_s: float = 0.0
) -> None:
    """Fills adjacent windows of a recording (SemiSupCon's views), mono.

    In a recording shorter than all of them together they are evenly spaced from its start to its end, and overlap; one
    that is shorter than a window is in all of them, followed by silence.

    Args:
        audio: an encoded file.
        views: int16 [views, samples], contiguous, to be filled. After an error it holds anything.
        draw: in [0, 1): which part of the recording.
        sample_rate_hz: of the windows.
        min_duration_s: as of :func:`decode_window`.

    Raises:
        DecodeError: as :func:`decode_window`.
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
    """A whole recording, from an encoded file or its path, as int16 [samples], mono.

    Raises:
        DecodeError: as :func:`decode_window`, and for a path that cannot be read.
    """
    with _named(audio):
        sound = streamed_sound(encoded(audio), sample_rate_hz)
        if sound.kept is not None:
            return sound.kept
        recording = np.empty(sound.samples, np.int16)
        sound.fill(recording, 0)
        return recording


def covering_windows(audio: bytes | str, window_samples: int, *, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """The windows that stand for a recording, from an encoded file or its path; never more of it than that in memory.

    Args:
        audio: an encoded file or its path.
        window_samples: length of a window.
        sample_rate_hz: of the windows.

    Yields:
        int16 [window_samples]: the fewest that cover the recording, evenly spaced from its first sample to its last. A
        shorter recording is one window, followed by silence.

    Raises:
        DecodeError: as :func:`decode_recording`, before the first window.
    """
    with _named(audio):
        sound = streamed_sound(encoded(audio), sample_rate_hz)
    blocks, held, first = sound.blocks(), np.zeros(0, np.int16), 0
    for start in evenly_spaced_windows(sound.samples, window_samples).tolist():
        after = min(start + window_samples, sound.samples)
        while first + len(held) < after:
            block = next(blocks)
            keep = held[start - first :]
            first = first + len(held) - len(keep)
            held = np.concatenate([keep, block]) if len(keep) else block
        window = np.zeros(window_samples, np.int16)
        window[: after - start] = held[start - first : after - first]
        yield window


def duration_s(audio: bytes | str) -> float:
    """Length of an encoded file, given by its bytes or its path.

    Raises:
        DecodeError: as :func:`decode_recording`; what decodes but in part may be told by that alone.
    """
    with _named(audio):
        file = encoded(audio)
        return (seekable_sound(file, _ANY_RATE_HZ) or streamed_sound(file, _ANY_RATE_HZ)).seconds


@contextmanager
def _named(audio: bytes | str) -> Iterator[None]:
    """What is wrong with a file is told with its path."""
    try:
        yield
    except DecodeError as error:
        if isinstance(audio, str) and error.reason != "missing file":
            raise DecodeError(error.reason, f"{audio}: {error.detail}") from error
        raise


def to_mono_int16(samples: np.ndarray, from_rate_hz: int, to_rate_hz: int) -> np.ndarray:
    """Channel mean at another rate.

    Args:
        samples: [frames, channels], int16 or float in [-1, 1].

    Returns:
        int16 [frames * to_rate_hz / from_rate_hz].
    """
    mono = mix_down(np.asarray(samples, samples.dtype.newbyteorder("=")))
    if from_rate_hz != to_rate_hz:
        mono = soxr.resample(as_float32(mono), from_rate_hz, to_rate_hz)
    return round_to_int16(mono)


def evenly_spaced_windows(samples: int, window_samples: int) -> np.ndarray:
    """Starts (int64) of the fewest windows that cover a recording, the first at 0 and the last at its end."""
    count = max(1, -(-samples // window_samples))
    return np.linspace(0, max(0, samples - window_samples), count).round().astype(np.int64)
