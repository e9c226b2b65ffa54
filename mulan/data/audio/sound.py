"""Access to the samples of an encoded recording as mono int16 at one rate: their number, and any range of them.

If libsndfile knows the length and can seek, only the range itself is decoded. Other files are decoded from the start,
by the decoder that recovers most of them, in memory that does not depend on the length.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import gcd

import numpy as np
import soundfile
import soxr

from mulan.data.audio.ffmpeg import decode_with_ffmpeg
from mulan.data.audio.flac import flac_declared_s
from mulan.data.audio.frame_count import ReliableLength, reliable_length
from mulan.data.audio.libsndfile import (
    CannotOpen,
    UnseekableSoundFile,
    decode_raw_samples,
    decode_with_libsndfile,
    open_with_libsndfile,
    read_mono,
    start_of_undeclared_samples,
)
from mulan.data.audio.samples import (
    Decoder,
    DecodeStatus,
    check_rate,
    resample_blocks,
    resampled_length,
    round_to_int16,
    to_float32,
    validated_block,
)
from mulan.data.audio.source import AudioSource, split_concatenated
from mulan.data.errors import DecodeError

MAX_CACHED_SAMPLES = 2**22
"""Maximum number of samples that are cached while the length is determined, to avoid decoding twice: 4 minutes."""

_MARGIN = 320
"""Context on both sides of a resampled range, in samples at the lower rate: many times the support of the filter."""

_ROUNDING_S = 1e-6
"""Tolerance in seconds of a sum of durations: less than a frame."""

_FRAMES_LOST_AT_END = 0.01
"""Maximum fraction of the frames that may be missing, if their number is known or declared by FLAC."""


class CannotSeek(Exception):
    """Raised when a range cannot be read without decoding everything before it."""


@dataclass(frozen=True)
class SeekableSound:
    """A recording whose length libsndfile knows, and whose ranges are read by seeking."""

    opened: UnseekableSoundFile
    length: ReliableLength
    rate_hz: int
    """Sample rate of :attr:`samples`."""

    @property
    def seconds(self) -> float:
        """Duration of the recording in seconds."""
        return self.length.frames / self.opened.samplerate

    @property
    def samples(self) -> int:
        """Number of samples of the recording at :attr:`rate_hz`."""
        return resampled_length(self.length.frames, self.opened.samplerate, self.rate_hz)

    def fill(self, window: np.ndarray, start: int) -> None:
        """Fills a window, int16 [samples], with the samples from ``start`` on, all of which must exist.

        Raises:
            CannotSeek: The samples do not exist or cannot be reached.
            DecodeError: A sample is not finite.
        """
        own_hz = self.opened.samplerate
        if own_hz == self.rate_hz:
            # samples that need no conversion are decoded in place: a copy would cost as much as reading the file
            in_place = self.opened.subtype == "PCM_16" and self.opened.channels == 1
            mono = self._read(start, len(window), out=window[:, None] if in_place else None)
            if not in_place:
                window[:] = round_to_int16(mono)
            return
        # start where a frame and a sample coincide, so that the result equals a slice of the whole resampled recording
        step, margin = own_hz // gcd(own_hz, self.rate_hz), _MARGIN * own_hz // min(own_hz, self.rate_hz)
        first = max(0, (start * own_hz // self.rate_hz - margin) // step * step)
        last = min(self.length.frames, -(-(start + len(window)) * own_hz // self.rate_hz) + margin)
        mono = self._read(first, last - first)
        before = start - first * self.rate_hz // own_hz
        resampled = soxr.resample(to_float32(mono), own_hz, self.rate_hz)[before : before + len(window)]
        window[:] = round_to_int16(resampled)

    def _read(self, start: int, count: int, *, out: np.ndarray | None = None) -> np.ndarray:
        try:
            if start:
                before = self.length.preroll(start)
                self.opened.seek(start - before)
                if before:
                    read_mono(self.opened, before)
            mono = read_mono(self.opened, count, out=out)
        except soundfile.LibsndfileError as error:
            raise CannotSeek(error.error_string) from error
        if len(mono) < count:
            raise CannotSeek(f"{self.opened.format} ends {count - len(mono)} frames early")
        return validated_block(mono, self.opened.samplerate)[0]


@dataclass(frozen=True)
class StreamedSound:
    """A recording that has been decoded once from start to end."""

    samples: int
    """Number of samples of the recording at the requested rate."""
    seconds: float
    """Duration of the recording in seconds."""
    cached: np.ndarray | None
    """All samples, int16; None if they are too many to cache."""
    decode_again: Callable[[], Iterator[np.ndarray]]
    """Decodes the recording again and returns its blocks, int16."""
    fault: str = ""
    """What is missing or damaged, and from which second, in one line; empty if nothing is known to be."""
    refusal: DecodeError | None = None
    """Why the recording is not complete, in which case these are the samples before the damage; None if it is."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Returns all samples in order, int16, in blocks."""
        return iter([self.cached]) if self.cached is not None else self.decode_again()

    def fill(self, window: np.ndarray, start: int) -> None:
        """Fills a window, int16 [samples], with the samples from ``start`` on, all of which must exist."""
        position = 0
        for block in self.blocks():
            part = block[max(0, start - position) : max(0, start + len(window) - position)]
            at = max(0, position - start)
            window[at : at + len(part)] = part
            position += len(block)
            if position >= start + len(window):
                return


Sound = SeekableSound | StreamedSound


def seekable_sound(file: AudioSource, rate_hz: int) -> SeekableSound | None:
    """Opens a file whose ranges can be read by seeking; returns None if they cannot.

    Raises:
        DecodeError: The sample rate is invalid.
    """
    try:
        opened = open_with_libsndfile(file, file.open())
    except CannotOpen:
        return None
    check_rate(opened.samplerate)
    length = reliable_length(file, opened)
    if not length or (opened.format == "OGG" and not _is_readable(file)):
        return None
    return SeekableSound(opened, length, rate_hz)


def _is_readable(file: AudioSource) -> bool:
    """Returns whether samples can be read: in Ogg with damaged headers they cannot, and a seek crashes the process."""
    with file.open() as content, open_with_libsndfile(file, content) as opened:
        try:
            return len(read_mono(opened, 1)) > 0
        except soundfile.LibsndfileError:
            return False


def streamed_sound(file: AudioSource, rate_hz: int) -> StreamedSound:
    """Decodes a recording from start to end.

    Raises:
        DecodeError: The recording is undecodable, truncated, damaged or empty, its rate is invalid, or a sample is not
            finite.
    """
    sound = intact_sound(file, rate_hz)
    if sound.refusal:
        raise sound.refusal
    return sound


def intact_sound(file: AudioSource, rate_hz: int) -> StreamedSound:
    """Decodes a recording from its start to its end or, if it is truncated or damaged, to where that begins.

    Raises:
        DecodeError: The recording is undecodable or empty, its rate is invalid, or a sample is not finite.
    """
    sounds: list[StreamedSound] = []
    refusal = None
    for part in split_concatenated(file):
        try:
            sounds.append(_best_sound(part, rate_hz))
            refusal = sounds[-1].refusal
        except DecodeError as error:
            if not sounds:
                raise
            refusal = error
        if refusal:
            break
    if len(sounds) == 1 and sounds[0].refusal is refusal:
        return sounds[0]
    return _joined(sounds, refusal)


def _joined(sounds: list[StreamedSound], refusal: DecodeError | None) -> StreamedSound:
    samples = sum(sound.samples for sound in sounds)
    seconds = sum(sound.seconds for sound in sounds)
    faults = [_with_intact(refusal, seconds)] if refusal else [sound.fault for sound in sounds if sound.fault]
    return StreamedSound(
        samples=samples,
        seconds=seconds,
        cached=np.concatenate([*chain.from_iterable(sound.blocks() for sound in sounds)])
        if samples <= MAX_CACHED_SAMPLES
        else None,
        decode_again=lambda: chain.from_iterable(sound.decode_again() for sound in sounds),
        fault="; ".join(faults),
        refusal=refusal,
    )


def _best_sound(file: AudioSource, rate_hz: int) -> StreamedSound:
    """Decodes with the first decoder that reaches the end without a fault, or with the one that gets farthest.

    If none gets far enough, the sound is what the one decodes that gets farthest without a damaged packet.
    """
    known_s = _known_s(file)
    first: list[Decoder] = [decode_with_libsndfile] if known_s else []
    if not known_s and (start := start_of_undeclared_samples(file)) is not None:
        first = [partial(decode_raw_samples, start)]
    decoders = [*first, decode_with_ffmpeg, decode_with_libsndfile]
    best, best_status, faults, intact = None, DecodeStatus(), [], None
    for decoder in decoders:
        status = DecodeStatus()
        sound = _decode_with(decoder, file, rate_hz, status)
        if best is None or status.seconds > best_status.seconds:
            best, best_status = sound, status
        if intact is None or min(status.seconds, status.intact_s) > intact.seconds:
            intact = _first(sound, status.intact_s, rate_hz)
        faults.append(status.fault)
        complete = decoder is not decode_with_libsndfile or 0 < known_s <= status.seconds + _ROUNDING_S
        if status.truncated or (complete and status.seconds and not status.fault):
            break
    assert best is not None and intact is not None
    refusal = _refusal(best.seconds, max(known_s, flac_declared_s(file)), best_status)
    if not best.samples and not best_status.truncated:
        if all(faults):
            raise DecodeError("undecodable audio", "; ".join(dict.fromkeys(faults)))
        raise DecodeError("no samples", "a file without audio frames")
    if refusal:
        return replace(intact, fault=_with_intact(refusal, intact.seconds), refusal=refusal)
    if best_status.intact_s < best.seconds:
        fault = f"damaged audio: {best_status.fault or 'missing frames'}"
        return replace(best, fault=_with_intact(fault, best_status.intact_s))
    return best


def _with_intact(fault: DecodeError | str, seconds: float) -> str:
    return f"{fault}; the first {seconds:.4g} s are intact"


def _refusal(seconds: float, declared_s: float, status: DecodeStatus) -> DecodeError | None:
    """Returns why a recording is not complete of which some seconds have been decoded; None if it is."""
    if status.truncated:
        return DecodeError("truncated audio", status.truncated)
    if seconds < (1 - _FRAMES_LOST_AT_END) * declared_s:
        return DecodeError("truncated audio", f"it ends after {seconds:.3g} s of {declared_s:.3g} s")
    if status.damaged:
        return DecodeError("damaged audio", f"{status.fault}, in the middle of {seconds:.3g} s")
    return None


def _first(sound: StreamedSound, seconds: float, rate_hz: int) -> StreamedSound:
    """Returns the first seconds of a sound."""
    if seconds >= sound.seconds:
        return sound
    samples = min(sound.samples, int(seconds * rate_hz))

    def first_blocks() -> Iterator[np.ndarray]:
        rest = samples
        for block in sound.decode_again():
            yield block[:rest]
            rest -= len(block)
            if rest <= 0:
                return

    cached = None if sound.cached is None else sound.cached[:samples]
    return replace(sound, samples=samples, seconds=seconds, cached=cached, decode_again=first_blocks)


def _known_s(file: AudioSource) -> float:
    """Returns the duration in seconds of a file whose length libsndfile knows; 0 for other files."""
    try:
        with file.open() as content, open_with_libsndfile(file, content) as opened:
            length = reliable_length(file, opened)
            return length.frames / opened.samplerate if length else 0.0
    except CannotOpen:
        return 0.0


def _decode_with(decoder: Decoder, file: AudioSource, rate_hz: int, status: DecodeStatus) -> StreamedSound:
    cached: list[np.ndarray] | None = []
    samples = 0
    for block in resample_blocks(decoder(file, status), rate_hz):
        samples += len(block)
        if cached is not None:
            cached.append(block)
            if samples > MAX_CACHED_SAMPLES:
                cached = None
    return StreamedSound(
        samples=samples,
        seconds=status.seconds,
        cached=None if cached is None else np.concatenate([np.zeros(0, np.int16), *cached]),
        decode_again=lambda: resample_blocks(decoder(file, DecodeStatus()), rate_hz),
    )
