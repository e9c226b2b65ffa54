"""FFmpeg (by PyAV): files decoded from their start to their end.

Nothing in a file makes it open another one: it reads from a file object, and no format is allowed that names files or
addresses (playlists, DASH, concat scripts).
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

import av
import numpy as np

from mulan.data.audio.encoded import Encoded
from mulan.data.audio.samples import FRAMES_AT_ONCE, Block, Decoding, check_rate, checked, mix_down
from mulan.data.errors import DecodeError

_MAX_PLANES = 7
"""The most planes of a frame that PyAV reads; of more, it reads memory that is none of them."""

_FAULTS = (av.FFmpegError, IndexError, ValueError, MemoryError, OverflowError)
"""What PyAV raises of files that are damaged, or of another kind than they seem."""

_MAX_LOST = 0.01
"""Share of FFmpeg's packets that may be damaged in the middle of a file."""

_FORMATS = (
    "aa,aac,aax,ac3,ac4,aea,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,avr,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,ilbc,"
    "ircam,latm,loas,matroska,mlp,mmf,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,nistsphere,nut,ogg,oma,osq,pvf,qcp,qoa,rm,rso,sds,"
    "shn,sln,sol,sox,spdif,tak,truehd,tta,voc,vqf,w64,wav,wsaud,wsd,wv,wve,xa,xwma"
)
"""The demuxers of FFmpeg that are allowed: those of sound, and of films with sound."""

_SCALES = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "s64": 2.0**-63, "flt": 1.0, "dbl": 1.0}
"""What a sample of FFmpeg's formats is multiplied with to be in [-1, 1]."""


def by_ffmpeg(file: Encoded, decoding: Decoding) -> Iterator[Block]:
    """A :data:`Decoder`."""
    with file.open() as content:
        try:
            yield from _joined(_frames(content, len(file), decoding), decoding)
        except DecodeError:
            raise
        except _FAULTS as error:
            decoding.fault = decoding.fault or _words_of(error)


def _frames(content: BinaryIO, size: int, decoding: Decoding) -> Iterator[av.AudioFrame]:
    """All frames that can be decoded: one damaged packet does not end a file."""
    packets, lost, lost_last = 0, 0, 0
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    with av.open(content, "r", options=options, metadata_errors="ignore") as container:
        stream = next((one for one in container.streams.audio if one.codec_context is not None), None)
        if stream is None:
            raise ValueError("there is no decoder for it" if container.streams.audio else "there is no sound in it")
        _check_not_cut(stream, size)
        for packet in _packets(container, stream, decoding):
            packets += packet.size > 0
            try:
                frames = cast(list[av.AudioFrame], packet.decode())
            except _FAULTS as error:  # what was decoded before is kept, and what comes after may be sound
                lost_last += 1
                decoding.fault = _words_of(error)
                continue
            if frames:
                lost, lost_last = lost + lost_last, 0
            yield from frames
    decoding.damaged = lost > _MAX_LOST * packets


def _packets(container: av.container.InputContainer, stream: av.AudioStream, decoding: Decoding) -> Iterator[av.Packet]:
    """All packets up to the end, or to where the file cannot be read on."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _FAULTS as error:
            decoding.fault = _words_of(error)
            return
        yield packet


def _words_of(error: Exception) -> str:
    """Without the number and the file name that FFmpeg's errors have, of a file that has no name."""
    return getattr(error, "strerror", None) or str(error)


def _check_not_cut(stream: av.AudioStream, size: int) -> None:
    """An MP4 lists its packets; one whose packets are not all there would else be taken for a shorter one."""
    if stream.container.format.name.startswith("mov") and len(stream.index_entries):
        last = stream.index_entries[-1]
        if last.pos + last.size > size:
            raise DecodeError("truncated audio", f"MP4 whose last packet ends at byte {last.pos + last.size} of {size}")


def _joined(frames: Iterator[av.AudioFrame], decoding: Decoding) -> Iterator[Block]:
    """Frames as blocks of some length: what is done with a block has its price."""
    parts: list[np.ndarray] = []
    held, of_hz = 0, 0
    for frame in chain(frames, [None]):
        if parts and (frame is None or frame.sample_rate != of_hz or held >= FRAMES_AT_ONCE):
            decoding.seconds += held / of_hz
            yield checked(np.concatenate(parts), of_hz)
            parts, held = [], 0
        if frame is not None:
            check_rate(frame.sample_rate)
            parts.append(_mono(frame))
            held, of_hz = held + frame.samples, frame.sample_rate


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """float32 [frames]."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels > _MAX_PLANES:
        (frame,) = av.AudioResampler(format=frame.format.packed).resample(frame)
    samples: Any = frame.to_ndarray()
    columns = samples.T if frame.format.is_planar else samples.reshape(frame.samples, channels)
    kind = frame.format.name.removesuffix("p")
    if kind == "flt":
        return mix_down(columns)
    centred = columns.astype(np.float64 if kind in ("s32", "s64", "dbl") else np.float32)
    if kind == "u8":
        centred -= 128
    return mix_down((centred * _SCALES[kind]).astype(np.float32))
