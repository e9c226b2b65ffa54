"""Audio files to int16 mono samples at the model's rate: the whole recording, or one window without decoding the rest.

soundfile first: its bundled libsndfile seeks to the exact sample in FLAC, OGG, MP3 and WAV. PyAV reads what libsndfile
does not (M4A, WebM, AAC); it decodes from the start, so a window costs it the whole file.
"""

import io
from dataclasses import dataclass

import av
import numpy as np
import soundfile
import soxr

from mulan.data.errors import DecodeError

_FRAMES_LOST_AT_END = 0.01
"""Share of the announced frames that may be missing: MP3 headers promise a little more than the decoder yields."""


def decode_window(audio: bytes, window: np.ndarray, *, draw: float, sample_rate_hz: int) -> int:
    """Fills a window with a part of a recording, mono, and returns how many of its samples are the recording's.

    Args:
        audio: an encoded file.
        window: int16 [samples], contiguous, to be filled; a shorter recording is followed by silence. After an error it
            holds anything.
        draw: in [0, 1): which of all possible windows, from the first to the last.
        sample_rate_hz: of the window.

    Raises:
        DecodeError: undecodable, cut off, empty, or with samples that are not numbers.
    """
    frames, rate_hz, file = _open(audio)
    needed = -(-len(window) * rate_hz // sample_rate_hz)
    start, count = int(draw * (max(0, frames - needed) + 1)), min(needed, frames)
    # samples that need no conversion are decoded into their place: a copy would cost as much as reading the file
    out = window[:count, None] if _holds_mono_int16(file) and rate_hz == sample_rate_hz else None
    samples = _read(file, start, count, announced=frames, out=out)
    mono = to_mono_int16(samples, rate_hz, sample_rate_hz)[: len(window)]
    if out is None:
        window[: len(mono)] = mono
    window[len(mono) :] = 0
    return len(mono)


def decode_views(audio: bytes, views: np.ndarray, *, draw: float, sample_rate_hz: int) -> None:
    """Fills adjacent windows of a recording (SemiSupCon's views), mono.

    In a recording shorter than all of them together they are evenly spaced from its start to its end, and overlap; one
    that is shorter than a window is in all of them, followed by silence.

    Args:
        audio: an encoded file.
        views: int16 [views, samples], contiguous, to be filled. After an error it holds anything.
        draw: in [0, 1): which part of the recording.
        sample_rate_hz: of the windows.

    Raises:
        DecodeError: as :func:`decode_window`.
    """
    count, samples = views.shape
    filled = decode_window(audio, views.reshape(-1), draw=draw, sample_rate_hz=sample_rate_hz)
    if filled < views.size and count > 1:
        excerpt = views.reshape(-1)[: max(filled, samples)].copy()
        for view, start in zip(views, np.linspace(0, len(excerpt) - samples, count).round().astype(int), strict=True):
            view[:] = excerpt[start : start + samples]


def decode_recording(audio: bytes | str, *, sample_rate_hz: int) -> np.ndarray:
    """A whole recording, from an encoded file or its path, as int16 [samples], mono.

    Raises:
        DecodeError: as :func:`decode_window`, and for a path that cannot be read.
    """
    frames, rate_hz, file = _open(_read_file(audio) if isinstance(audio, str) else audio)
    return to_mono_int16(_read(file, 0, frames, announced=frames), rate_hz, sample_rate_hz)


def duration_s(audio: bytes) -> float:
    """Length of an encoded file."""
    frames, rate_hz, _ = _open(audio)
    return frames / rate_hz


def to_mono_int16(samples: np.ndarray, from_rate_hz: int, to_rate_hz: int) -> np.ndarray:
    """Channel mean at another rate.

    Args:
        samples: [frames, channels], int16 or float in [-1, 1].

    Returns:
        int16 [frames * to_rate_hz / from_rate_hz].
    """
    frames, channels = samples.shape
    if channels == 1 and samples.dtype == np.int16 and from_rate_hz == to_rate_hz:
        return samples[:, 0]
    mono = np.zeros(frames, np.float32)
    for channel in range(channels):  # whole columns: NumPy is slow at the mean of many short rows
        mono += samples[:, channel]
    mono /= channels * (32768.0 if samples.dtype == np.int16 else 1.0)
    if from_rate_hz != to_rate_hz:
        mono = soxr.resample(mono, from_rate_hz, to_rate_hz)
    scaled = np.rint(mono * 32768.0)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def evenly_spaced_windows(samples: int, window_samples: int) -> np.ndarray:
    """Starts (int64) of the fewest windows that cover a recording, the first at 0 and the last at its end."""
    count = max(1, -(-samples // window_samples))
    return np.linspace(0, max(0, samples - window_samples), count).round().astype(np.int64)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DecodeError("missing file", f"{path}: {error.strerror}") from error


class _OnePart(soundfile.SoundFile):
    """A file of which one part is read.

    A seekable one is sought anew after each read, for the next one, which in FLAC means to decode again.
    """

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class _Decoded:
    """What PyAV made of a whole file: float32 [frames, channels]."""

    samples: np.ndarray


def _open(audio: bytes) -> tuple[int, int, _OnePart | _Decoded]:
    """Frames, rate in Hz, and what :func:`_read` reads from."""
    try:
        file = _OnePart(io.BytesIO(audio))
    except soundfile.LibsndfileError as error:
        samples, rate_hz = _decode_with_pyav(audio, why=error.error_string)
        return len(samples), rate_hz, _Decoded(samples)
    if file.frames <= 0:
        raise DecodeError("no samples", f"{file.format} file without frames")
    return file.frames, file.samplerate, file


def _holds_mono_int16(file: _OnePart | _Decoded) -> bool:
    return isinstance(file, _OnePart) and file.subtype == "PCM_16" and file.channels == 1


def _read(
    file: _OnePart | _Decoded, start: int, count: int, *, announced: int, out: np.ndarray | None = None
) -> np.ndarray:
    """[count, channels], the beginning of ``out`` if given; int16 where the file holds that, float32 otherwise."""
    if isinstance(file, _Decoded):
        return file.samples[start : start + count]
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    try:
        file.seek(start)
        samples: np.ndarray = file.read(count, dtype=dtype, always_2d=True, out=out)
    except soundfile.LibsndfileError as error:
        raise DecodeError("truncated audio", f"{file.format}: {error.error_string}") from error
    if len(samples) < count - _FRAMES_LOST_AT_END * announced:
        raise DecodeError("truncated audio", f"{file.format} ends {count - len(samples)} frames early")
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        raise DecodeError("samples not finite", f"{file.format} with NaN or infinite samples")
    return samples


def _decode_with_pyav(audio: bytes, *, why: str) -> tuple[np.ndarray, int]:
    try:
        with av.open(io.BytesIO(audio), "r") as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            parts = [
                resampled.to_ndarray()
                for frame in [*container.decode(stream), None]  # None flushes the resampler
                for resampled in resampler.resample(frame)
            ]
            rate_hz = stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DecodeError("undecodable audio", f"{why}; {error}") from error
    samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1), np.float32)
    if not len(samples):
        raise DecodeError("no samples", "a file without audio frames")
    if not np.isfinite(samples).all():
        raise DecodeError("samples not finite", "NaN or infinite samples")
    return samples, rate_hz
