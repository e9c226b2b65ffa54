"""The clip of a recording: the excerpt that goes into a shard, mono FLAC at one rate, and what is measured of it.

Of a recording that is damaged or truncated, what can be decoded before the damage counts as the recording, if it is
long enough. Where libsndfile knows the length and can seek, only the excerpt itself is decoded; damage elsewhere is not
noticed there. Memory depends on the duration of the clip, and not on that of the recording.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from mulan.data.audio.sound import CannotSeek, SeekableSound, Sound, StreamedSound, intact_sound, seekable_sound
from mulan.data.audio.source import audio_source
from mulan.data.audio.windows import path_in_errors
from mulan.data.errors import DecodeError
from mulan.preparation.settings import ClipConfig

SILENCE_STEPS = 32
"""Maximum amplitude of silence in steps of 16 bits, around the mean of both extremes: -60 dBFS, as FFmpeg's
``silencedetect`` has it by default."""

CLIPPED_RUN = 3
"""Minimum number of adjacent samples at the same end of full scale that count as clipped."""

_FULL_SCALE = (32767, -32768)

_MAX_RANGE_SAMPLES = 2**22
"""Maximum number of samples that are decoded at once by seeking: their float samples at the recording's own rate are
several times as large as the clip. They are 4 minutes at 16 kHz."""


@dataclass(frozen=True)
class Clip:
    """The clip of a recording."""

    flac: bytes
    """The clip as a FLAC file: mono, 16 bits, at ``clip.sample_rate_hz``; the same bytes for the same samples."""
    duration_s: float
    """Duration of the clip in seconds, exactly."""
    recording_s: float
    """Duration in seconds of the whole recording, as far as it can be decoded, also outside the excerpt."""
    sha256: str
    """SHA-256 in hexadecimal of the clip's rate in Hz (unsigned, 32 bits) and its samples (int16), both little-endian.
    It depends on what is heard, and not on the format or the tags of a lossless file."""
    silent_share: float
    """Share of the clip's duration, in [0, 1], in silent seconds: those whose highest and lowest sample differ by at
    most 2 * :data:`SILENCE_STEPS`, so that a constant offset is silence too. The last one may be shorter."""
    clipped_share: float
    """Share of the clip's samples, in [0, 1], in runs of at least :data:`CLIPPED_RUN` samples at the same end of full
    scale, after mixing down and resampling."""
    fault: str
    """What of the recording is missing or damaged, and from which second, in one line; empty if nothing is known to be.
    The excerpt is one of what precedes it, or contains single lost packets."""


def make_clip(
    audio: bytes | str, config: ClipConfig, *, start_s: float | None = None, end_s: float | None = None
) -> Clip:
    """Decodes the excerpt of a recording that is kept, and encodes it.

    If the recording is longer than ``config.duration_s``, the excerpt has that duration and starts at
    ``config.start_s``, or earlier, so that it ends where the recording ends. Otherwise it is the whole recording.

    Args:
        audio: Encoded file or its path.
        config: Start, duration and rate of the clip, and what is refused.
        start_s: Start in seconds of the part of the recording that counts as the recording; None for its start.
        end_s: End in seconds of that part; None, or more than there is, for the end of the recording.

    Raises:
        DecodeError: The recording or the part is undecodable, too short before any damage, or silent, its rate is
            invalid, or a sample of the excerpt is not finite; or the path cannot be read.
    """
    with path_in_errors(audio):
        file = audio_source(audio)
        sound = seekable_sound(file, config.sample_rate_hz)
        if sound:
            try:
                return _clip_of(sound, config, start_s, end_s)
            except CannotSeek:
                pass  # what can be decoded before it counts
        return _clip_of(intact_sound(file, config.sample_rate_hz), config, start_s, end_s)


def _clip_of(sound: Sound, config: ClipConfig, start_s: float | None, end_s: float | None) -> Clip:
    start, count = _excerpt(sound, config, start_s, end_s)
    samples = np.empty(count, np.int16)
    pieces = _MAX_RANGE_SAMPLES if isinstance(sound, SeekableSound) else count
    for at in range(0, count, pieces):
        sound.fill(samples[at : at + pieces], start + at)
    rate_hz = config.sample_rate_hz
    silent = silent_share(samples, rate_hz)
    if silent == 1 or silent > config.max_silence:
        raise DecodeError("silent audio", f"{silent:.0%} of {count / rate_hz:.3g} s are silent seconds")
    return Clip(
        flac=_flac(samples, rate_hz),
        duration_s=count / rate_hz,
        recording_s=sound.seconds,
        sha256=samples_sha256(samples, rate_hz),
        silent_share=silent,
        clipped_share=clipped_share(samples),
        fault=sound.fault if isinstance(sound, StreamedSound) else "",
    )


def _excerpt(sound: Sound, config: ClipConfig, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Returns the first sample and the number of samples of the clip.

    Raises:
        DecodeError: The part from ``start_s`` to ``end_s`` is too short.
    """
    rate_hz = config.sample_rate_hz
    first = round((start_s or 0) * rate_hz)
    last = sound.samples if end_s is None else min(sound.samples, round(end_s * rate_hz))
    available = last - first
    if available <= 0 or available < config.min_duration_s * rate_hz:
        if isinstance(sound, StreamedSound) and sound.refusal:
            raise sound.refusal
        part = "" if start_s is None and end_s is None else f" in the part from {start_s or 0:g} s"
        part += "" if end_s is None else f" to {end_s:g} s"
        has_s = max(0, available) / rate_hz
        raise DecodeError("too short", f"{has_s:.3g} s of audio{part}, less than {config.min_duration_s:g} s")
    kept = min(available, round(config.duration_s * rate_hz)) if config.duration_s else available
    return first + min(round(config.start_s * rate_hz), available - kept), kept


def _flac(samples: np.ndarray, rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def samples_sha256(samples: np.ndarray, rate_hz: int) -> str:
    """Returns :attr:`Clip.sha256` of samples, contiguous int16 [samples]."""
    digest = hashlib.sha256(rate_hz.to_bytes(4, "little"))
    digest.update(samples.astype("<i2", copy=False).data)
    return digest.hexdigest()


def silent_share(samples: np.ndarray, rate_hz: int) -> float:
    """Returns :attr:`Clip.silent_share` of samples, contiguous int16 [at least 1]."""
    whole = len(samples) // rate_hz * rate_hz
    silent = rate_hz * int(np.count_nonzero(_is_silent(samples[:whole].reshape(-1, rate_hz))))
    if whole < len(samples) and _is_silent(samples[None, whole:])[0]:
        silent += len(samples) - whole
    return silent / len(samples)


def _is_silent(seconds: np.ndarray) -> np.ndarray:
    """Returns which rows of int16 [n, samples] are silent, bool [n]."""
    return seconds.max(axis=1).astype(np.int32) - seconds.min(axis=1) <= 2 * SILENCE_STEPS


def clipped_share(samples: np.ndarray) -> float:
    """Returns :attr:`Clip.clipped_share` of samples, int16 [at least 1]."""
    clipped = 0
    for level in _FULL_SCALE:
        edges = np.diff(samples == level, prepend=False, append=False)
        starts, ends = np.flatnonzero(edges).reshape(-1, 2).T
        lengths = ends - starts
        clipped += int(lengths[lengths >= CLIPPED_RUN].sum())
    return clipped / len(samples)
