"""The sound of an encoded recording, mono int16 at one rate: how long it is, and any part of it.

Where libsndfile knows the length and can seek, a part costs no more than itself. Everything else is decoded from its
start, by the decoder that gets most out of it; memory does not depend on how long it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import gcd

import numpy as np
import soundfile
import soxr

from mulan.data.audio.encoded import Encoded, joined_files
from mulan.data.audio.ffmpeg import by_ffmpeg
from mulan.data.audio.flac import flac_told_s
from mulan.data.audio.frame_count import KnownLength, known_length
from mulan.data.audio.libsndfile import (
    NotOpened,
    OnePart,
    as_plain_samples,
    by_libsndfile,
    open_one_part,
    read_mono,
    start_of_longer_samples,
)
from mulan.data.audio.samples import (
    Decoder,
    Decoding,
    as_float32,
    at_rate,
    check_rate,
    checked,
    round_to_int16,
    samples_at,
)
from mulan.data.errors import DecodeError

_MAX_KEPT = 2**22
"""Samples of a recording that are kept when its length is found, so that it need not be decoded again: 4 minutes."""

_MARGIN = 320
"""Samples of the lower rate, on both sides of a part that is brought to another: many times what the filter reaches."""

_ROUNDING_S = 1e-6
"""Of a sum of seconds: less than a frame."""

_FRAMES_LOST_AT_END = 0.01
"""Share of a file's frames that may be missing, where their number is known or FLAC tells it."""


class CannotSeek(Exception):
    """A part could not be read without what is in front of it."""


@dataclass(frozen=True)
class SeekableSound:
    """A file whose length libsndfile knows. Its parts are read by seeking."""

    opened: OnePart
    length: KnownLength
    rate_hz: int
    """Of :attr:`samples`."""

    @property
    def seconds(self) -> float:
        return self.length.frames / self.opened.samplerate

    @property
    def samples(self) -> int:
        """Of the whole, at :attr:`rate_hz`."""
        return samples_at(self.length.frames, self.opened.samplerate, self.rate_hz)

    def fill(self, window: np.ndarray, start: int) -> None:
        """Reads the samples from ``start`` on that a window, int16 [samples], has room for; all must be there.

        Raises:
            CannotSeek: they are not, or cannot be reached.
            DecodeError: samples that are not numbers.
        """
        own_hz = self.opened.samplerate
        if own_hz == self.rate_hz:
            # samples that need no conversion are decoded into their place: a copy would cost as much as reading the
            # file
            in_place = self.opened.subtype == "PCM_16" and self.opened.channels == 1
            mono = self._read(start, len(window), out=window[:, None] if in_place else None)
            if not in_place:
                window[:] = round_to_int16(mono)
            return
        # from a frame on that is also a sample, so that these are the samples of the whole
        step, margin = own_hz // gcd(own_hz, self.rate_hz), _MARGIN * own_hz // min(own_hz, self.rate_hz)
        first = max(0, (start * own_hz // self.rate_hz - margin) // step * step)
        last = min(self.length.frames, -(-(start + len(window)) * own_hz // self.rate_hz) + margin)
        mono = self._read(first, last - first)
        before = start - first * self.rate_hz // own_hz
        resampled = soxr.resample(as_float32(mono), own_hz, self.rate_hz)[before : before + len(window)]
        window[:] = round_to_int16(resampled)

    def _read(self, start: int, count: int, *, out: np.ndarray | None = None) -> np.ndarray:
        try:
            if start:
                before = self.length.needed_before(start)
                self.opened.seek(start - before)
                if before:
                    read_mono(self.opened, before)
            mono = read_mono(self.opened, count, out=out)
        except soundfile.LibsndfileError as error:
            raise CannotSeek(error.error_string) from error
        if len(mono) < count:
            raise CannotSeek(f"{self.opened.format} ends {count - len(mono)} frames early")
        return checked(mono, self.opened.samplerate)[0]


@dataclass(frozen=True)
class StreamedSound:
    """A recording that has been decoded once from its start to its end."""

    samples: int
    """Of the whole, at the rate asked for."""
    seconds: float
    kept: np.ndarray | None
    """All of them, int16, if they are few."""
    again: Callable[[], Iterator[np.ndarray]]
    """Decodes it once more, in blocks, int16."""

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples, int16, in order."""
        return iter([self.kept]) if self.kept is not None else self.again()

    def fill(self, window: np.ndarray, start: int) -> None:
        """The samples from ``start`` on that a window, int16 [samples], has room for; all must be there."""
        passed = 0
        for block in self.blocks():
            wanted = block[max(0, start - passed) : max(0, start + len(window) - passed)]
            place = max(0, passed - start)
            window[place : place + len(wanted)] = wanted
            passed += len(block)
            if passed >= start + len(window):
                return


Sound = SeekableSound | StreamedSound


def seekable_sound(file: Encoded, rate_hz: int) -> SeekableSound | None:
    """A file of which parts can be read by themselves; None if it is none.

    Raises:
        DecodeError: a rate that no sound has.
    """
    try:
        opened = open_one_part(file, file.open())
    except NotOpened:
        return None
    check_rate(opened.samplerate)
    length = known_length(file, opened)
    if not length or (opened.format == "OGG" and not _can_be_read(file)):
        return None
    return SeekableSound(opened, length, rate_hz)


def _can_be_read(file: Encoded) -> bool:
    """Whether there are samples; in Ogg whose headers are spoilt there are none, and to seek there ends the process."""
    with file.open() as content, open_one_part(file, content) as opened:
        try:
            return len(read_mono(opened, 1)) > 0
        except soundfile.LibsndfileError:
            return False


def streamed_sound(file: Encoded, rate_hz: int) -> StreamedSound:
    """A recording decoded from its start to its end.

    Raises:
        DecodeError: undecodable, cut off, damaged, without samples, of an impossible rate, or with samples that are not
            numbers.
    """
    sounds = [_best_sound(part, rate_hz) for part in joined_files(file)]
    if len(sounds) == 1:
        return sounds[0]
    samples = sum(sound.samples for sound in sounds)
    return StreamedSound(
        samples=samples,
        seconds=sum(sound.seconds for sound in sounds),
        kept=np.concatenate([*chain.from_iterable(sound.blocks() for sound in sounds)])
        if samples <= _MAX_KEPT
        else None,
        again=lambda: chain.from_iterable(sound.again() for sound in sounds),
    )


def _best_sound(file: Encoded, rate_hz: int) -> StreamedSound:
    """That of the first decoder that comes to the end without a fault; failing that, of the one that gets farthest."""
    known_s = _known_s(file)
    first: list[Decoder] = [by_libsndfile] if known_s else []
    if not known_s and (start := start_of_longer_samples(file)) is not None:
        first = [partial(as_plain_samples, start)]
    decoders = [*first, by_ffmpeg, by_libsndfile]
    best, best_decoding, faults = None, Decoding(), []
    for decoder in decoders:
        decoding = Decoding()
        sound = _decoded_by(decoder, file, rate_hz, decoding)
        if best is None or decoding.seconds > best_decoding.seconds:
            best, best_decoding = sound, decoding
        faults.append(decoding.fault)
        complete = decoder is not by_libsndfile or 0 < known_s <= decoding.seconds + _ROUNDING_S
        if complete and decoding.seconds and not decoding.fault:
            break
    assert best is not None
    if not best.samples:
        if all(faults):
            raise DecodeError("undecodable audio", "; ".join(dict.fromkeys(faults)))
        raise DecodeError("no samples", "a file without audio frames")
    told_s = max(known_s, flac_told_s(file))
    if best.seconds < (1 - _FRAMES_LOST_AT_END) * told_s:
        raise DecodeError("truncated audio", f"it ends after {best.seconds:.3g} s of {told_s:.3g} s")
    if best_decoding.damaged:
        raise DecodeError("damaged audio", f"{best_decoding.fault}, in the middle of {best.seconds:.3g} s")
    return best


def _known_s(file: Encoded) -> float:
    """Seconds of a file that libsndfile knows the length of; 0 for any other."""
    try:
        with file.open() as content, open_one_part(file, content) as opened:
            length = known_length(file, opened)
            return length.frames / opened.samplerate if length else 0.0
    except NotOpened:
        return 0.0


def _decoded_by(decoder: Decoder, file: Encoded, rate_hz: int, decoding: Decoding) -> StreamedSound:
    kept: list[np.ndarray] | None = []
    samples = 0
    for block in at_rate(decoder(file, decoding), rate_hz):
        samples += len(block)
        if kept is not None:
            kept.append(block)
            if samples > _MAX_KEPT:
                kept = None
    return StreamedSound(
        samples=samples,
        seconds=decoding.seconds,
        kept=None if kept is None else np.concatenate([np.zeros(0, np.int16), *kept]),
        again=lambda: at_rate(decoder(file, Decoding()), rate_hz),
    )
