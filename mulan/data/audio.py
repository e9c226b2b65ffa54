"""Audio files to int16 mono samples at the model's rate: the whole recording, or one window without decoding the rest.

soundfile first: its bundled libsndfile seeks to the exact sample in FLAC, OGG, MP3 and WAV. PyAV reads what libsndfile
does not (M4A, WebM, AAC); it decodes from the start, so a window costs it the whole file.
"""

import io
from dataclasses import dataclass
from itertools import chain

import av
import numpy as np
import soundfile
import soxr

from mulan.data.errors import DecodeError

_FRAMES_LOST_AT_END = 0.01
"""Share of the announced frames that may be missing: MP3 headers promise a little more than the decoder yields."""

_RATES_HZ = (1000, 1_000_000)
"""What a header may say; a rate outside would make a window a few samples, or gigabytes."""

_UNKNOWN_FRAMES = 2**63 - 1
"""libsndfile's length of a FLAC stream that was written before its length was known."""

_MOST_PLANES = 7
"""Of a frame with more, PyAV reads memory that is none of its planes."""

_SAMPLES_AT_ONCE = 2**22
"""Of all channels together, between decoding and mixing down: memory must not depend on what a header promises."""


def decode_window(audio: bytes, window: np.ndarray, *, draw: float, sample_rate_hz: int, least_s: float = 0.0) -> int:
    """Fills a window with a part of a recording, mono, and returns how many of its samples are the recording's.

    Args:
        audio: an encoded file.
        window: int16 [samples], contiguous, to be filled; a shorter recording is followed by silence. After an error it
            holds anything.
        draw: in [0, 1): which of all possible windows, from the first to the last.
        sample_rate_hz: of the window.
        least_s: a recording with less sound than this is refused, before it is decoded.

    Raises:
        DecodeError: undecodable, cut off, empty or too short, of an impossible rate, or with samples that are not
            numbers.
    """
    frames, rate_hz, file = _open(audio, least_s=least_s)
    needed = -(-len(window) * rate_hz // sample_rate_hz)
    start, count = int(draw * (max(0, frames - needed) + 1)), min(needed, frames)
    # samples that need no conversion are decoded into their place: a copy would cost as much as reading the file
    out = window[:count, None] if _holds_mono_int16(file) and rate_hz == sample_rate_hz else None
    mono = _to_int16(_read(file, start, count, announced=frames, out=out), rate_hz, sample_rate_hz)[: len(window)]
    if out is None:
        window[: len(mono)] = mono
    window[len(mono) :] = 0
    return len(mono)


def decode_views(audio: bytes, views: np.ndarray, *, draw: float, sample_rate_hz: int, least_s: float = 0.0) -> None:
    """Fills adjacent windows of a recording (SemiSupCon's views), mono.

    In a recording shorter than all of them together they are evenly spaced from its start to its end, and overlap; one
    that is shorter than a window is in all of them, followed by silence.

    Args:
        audio: an encoded file.
        views: int16 [views, samples], contiguous, to be filled. After an error it holds anything.
        draw: in [0, 1): which part of the recording.
        sample_rate_hz: of the windows.
        least_s: as of :func:`decode_window`.

    Raises:
        DecodeError: as :func:`decode_window`.
    """
    count, samples = views.shape
    filled = decode_window(audio, views.reshape(-1), draw=draw, sample_rate_hz=sample_rate_hz, least_s=least_s)
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
    return _to_int16(_read(file, 0, frames, announced=frames), rate_hz, sample_rate_hz)


def duration_s(audio: bytes) -> float:
    """Length of an encoded file.

    Raises:
        DecodeError: a file that cannot be opened, without samples, or of an impossible rate.
    """
    frames, rate_hz, _ = _open(audio)
    return frames / rate_hz


def to_mono_int16(samples: np.ndarray, from_rate_hz: int, to_rate_hz: int) -> np.ndarray:
    """Channel mean at another rate.

    Args:
        samples: [frames, channels], int16 or float in [-1, 1].

    Returns:
        int16 [frames * to_rate_hz / from_rate_hz].
    """
    return _to_int16(_mix_down(samples), from_rate_hz, to_rate_hz)


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
    """What PyAV made of a whole file: float32 [frames], mono."""

    samples: np.ndarray


def _open(audio: bytes, *, least_s: float = 0.0) -> tuple[int, int, _OnePart | _Decoded]:
    """Frames, rate in Hz, and what :func:`_read` reads from."""
    frames, rate_hz, file = _opened(audio)
    if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        raise DecodeError("impossible sample rate", f"{rate_hz} Hz is not from {_RATES_HZ[0]} to {_RATES_HZ[1]} Hz")
    if frames <= 0:
        raise DecodeError("no samples", "a file without audio frames")
    if frames < least_s * rate_hz:
        raise DecodeError("too short", f"{frames / rate_hz:.3g} s of sound, less than {least_s:g} s")
    return frames, rate_hz, file


def _opened(audio: bytes) -> tuple[int, int, _OnePart | _Decoded]:
    try:
        file = _OnePart(io.BytesIO(audio))
    except soundfile.LibsndfileError as error:
        return _decode_with_pyav(audio, why=error.error_string)
    if file.frames == _UNKNOWN_FRAMES:
        return _decode_with_pyav(audio, why=f"{file.format} of unknown length")
    return file.frames, file.samplerate, file


def _holds_mono_int16(file: _OnePart | _Decoded) -> bool:
    return isinstance(file, _OnePart) and file.subtype == "PCM_16" and file.channels == 1


def _read(
    file: _OnePart | _Decoded, start: int, count: int, *, announced: int, out: np.ndarray | None = None
) -> np.ndarray:
    """[count], mono, in ``out`` [count, 1] if given; int16 where the file holds that in mono, float32 otherwise."""
    if isinstance(file, _Decoded):
        return file.samples[start : start + count]
    most = count if out is not None else max(1, _SAMPLES_AT_ONCE // file.channels)
    parts, missing, ended = [], count, False
    try:
        file.seek(start)
        while missing and not ended:
            wanted = min(missing, most)
            part = file.read(wanted, "int16" if file.subtype == "PCM_16" else "float32", always_2d=True, out=out)
            parts.append(_mix_down(part))
            missing, ended = missing - len(part), len(part) < wanted
    except soundfile.LibsndfileError as error:
        raise DecodeError("truncated audio", f"{file.format}: {error.error_string}") from error
    if missing == count or missing > _FRAMES_LOST_AT_END * announced:
        raise DecodeError("truncated audio", f"{file.format} ends {missing} frames early")
    return _finite(parts, file.format)


def _decode_with_pyav(audio: bytes, *, why: str) -> tuple[int, int, _Decoded]:
    parts, rate_hz = [], 0
    try:
        with av.open(io.BytesIO(audio), "r") as container:
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("there is no decoder for it")
            # planes are what most decoders yield
            resampler = av.AudioResampler(format="fltp" if stream.layout.nb_channels <= _MOST_PLANES else "flt")
            for frame in chain(container.decode(stream), [None]):  # None flushes the resampler
                for resampled in resampler.resample(frame):
                    parts.append(_samples_of(resampled))
                    rate_hz = resampled.sample_rate
        samples = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DecodeError("undecodable audio", f"{why}; {error}") from error
    if not len(samples):
        raise DecodeError("no samples", "a file without audio frames")
    return len(samples), rate_hz, _Decoded(_finite([_mix_down(samples)], "a file"))


def _samples_of(frame: av.AudioFrame) -> np.ndarray:
    """[frames, channels] of what PyAV decoded."""
    if not frame.format.is_planar:
        return frame.to_ndarray().reshape(frame.samples, -1)
    if frame.layout.nb_channels > _MOST_PLANES:
        raise ValueError(f"{frame.layout.nb_channels} channels from the middle on")
    return frame.to_ndarray().T


def _mix_down(samples: np.ndarray) -> np.ndarray:
    """Channel mean [frames] of [frames, channels]: int16 of mono int16, float32 in [-1, 1] otherwise."""
    frames, channels = samples.shape
    if channels == 1 and samples.dtype in (np.int16, np.float32):
        return samples[:, 0]
    mono = np.zeros(frames, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite afterwards is refused
        for channel in range(channels):  # whole columns: NumPy is slow at the mean of many short rows
            mono += samples[:, channel]
    mono /= channels * (32768.0 if samples.dtype == np.int16 else 1.0)
    return mono


def _finite(parts: list[np.ndarray], name: str) -> np.ndarray:
    """Joined."""
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        raise DecodeError("samples not finite", f"{name} with NaN or infinite samples")
    return samples


def _to_int16(mono: np.ndarray, from_rate_hz: int, to_rate_hz: int) -> np.ndarray:
    """int16 [frames * to_rate_hz / from_rate_hz] of [frames], int16 or float in [-1, 1]."""
    if mono.dtype == np.int16:
        if from_rate_hz == to_rate_hz:
            return mono
        mono = mono.astype(np.float32) / np.float32(32768)
    if from_rate_hz != to_rate_hz:
        mono = soxr.resample(mono, from_rate_hz, to_rate_hz)
    scaled = np.rint(np.clip(mono, -1.0, 1.0) * 32768.0)
    return np.minimum(scaled, 32767).astype(np.int16)
