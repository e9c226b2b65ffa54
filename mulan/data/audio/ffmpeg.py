"""Decoding of whole files by FFmpeg, through PyAV.

A file cannot make FFmpeg open other files: FFmpeg reads from a file object, and formats that refer to files or
addresses (playlists, DASH, concat scripts) are not allowed.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

import av
import numpy as np

from mulan.data.audio.samples import BLOCK_FRAMES, Block, DecodeStatus, check_rate, mix_down, validated_block
from mulan.data.audio.source import AudioSource
from mulan.data.errors import DecodeError

_MAX_PLANES = 7
"""Maximum number of planes of a frame; PyAV reads invalid memory for frames with more."""

_FAULTS = (av.FFmpegError, IndexError, ValueError, MemoryError, OverflowError)
"""Exceptions that PyAV raises for damaged or mislabelled files."""

_MAX_LOST = 0.01
"""Maximum fraction of packets that may be damaged in the middle of a file."""

_FORMATS = (
    "aa,aac,aax,ac3,ac4,aea,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,avr,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,ilbc,"
    "ircam,latm,loas,matroska,mlp,mmf,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,nistsphere,nut,ogg,oma,osq,pvf,qcp,qoa,rm,rso,sds,"
    "shn,sln,sol,sox,spdif,tak,truehd,tta,voc,vqf,w64,wav,wsaud,wsd,wv,wve,xa,xwma"
)
"""Allowed demuxers of FFmpeg: those for audio, and for video with audio."""

_SKIPPED_S = 1e-3
"""Minimum time in seconds between frames of FLAC for frames to be missing there: less than a frame has."""

_SCALES = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "s64": 2.0**-63, "flt": 1.0, "dbl": 1.0}
"""Factor by sample format that scales samples to [-1, 1]."""


def decode_with_ffmpeg(file: AudioSource, status: DecodeStatus) -> Iterator[Block]:
    """Decodes a file with FFmpeg; a :data:`Decoder`."""
    with file.open() as content:
        try:
            yield from _blocks(_frames(content, len(file), status), status)
        except DecodeError:
            raise
        except _FAULTS as error:
            status.fault = status.fault or _message(error)


def _frames(content: BinaryIO, size: int, status: DecodeStatus) -> Iterator[av.AudioFrame]:
    """Yields all frames that can be decoded, and skips damaged packets."""
    packets, lost, lost_last = 0, 0, 0
    decoded_s, before_last_s, start_s = 0.0, 0.0, None
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    with av.open(content, "r", options=options, metadata_errors="ignore") as container:
        stream = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        if stream is None:
            raise ValueError("its codec is not supported" if container.streams.audio else "it has no audio stream")
        status.truncated = _missing_end(stream, size)
        for packet in _packets(container, stream, status):
            packets += packet.size > 0
            try:
                frames = cast(list[av.AudioFrame], packet.decode())
            except _FAULTS as error:  # later packets may be intact
                lost_last += 1
                status.fault = _message(error)
                continue
            if frames:
                if lost_last:
                    status.intact_s = min(status.intact_s, decoded_s)
                lost, lost_last = lost + lost_last, 0
            for frame in frames:
                if container.format.name == "flac" and frame.time is not None:
                    # the demuxer skips damaged frames without an error; the others state their positions, and the
                    # one before a gap may have been decoded to noise
                    start_s = frame.time if start_s is None else start_s
                    if frame.time - start_s > decoded_s + _SKIPPED_S:
                        status.intact_s = min(status.intact_s, before_last_s)
                yield frame
                before_last_s = decoded_s
                decoded_s += frame.samples / frame.sample_rate  # the consumer has checked the rate
    status.damaged = lost > _MAX_LOST * packets


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream, status: DecodeStatus
) -> Iterator[av.Packet]:
    """Yields all packets up to the end of the file, or up to where it becomes unreadable."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _FAULTS as error:
            status.fault = _message(error)
            return
        yield packet


def _message(error: Exception) -> str:
    """Returns an error's message without FFmpeg's error number and file name, as the file object has no name."""
    return getattr(error, "strerror", None) or str(error)


def _missing_end(stream: av.AudioStream, size: int) -> str:
    """Returns what an MP4 lacks whose packet list exceeds the file; FFmpeg decodes its beginning without an error."""
    if stream.container.format.name.startswith("mov") and len(stream.index_entries):
        last = stream.index_entries[-1]
        if last.pos + last.size > size:
            return f"MP4 whose last packet ends at byte {last.pos + last.size} of {size}"
    return ""


def _blocks(frames: Iterator[av.AudioFrame], status: DecodeStatus) -> Iterator[Block]:
    """Joins frames into blocks, because each block has a fixed cost."""
    parts: list[np.ndarray] = []
    length, rate_hz = 0, 0
    for frame in chain(frames, [None]):
        if parts and (frame is None or frame.sample_rate != rate_hz or length >= BLOCK_FRAMES):
            status.seconds += length / rate_hz
            yield validated_block(np.concatenate(parts), rate_hz)
            parts, length = [], 0
        if frame is not None:
            check_rate(frame.sample_rate)
            parts.append(_mono(frame))
            length, rate_hz = length + frame.samples, frame.sample_rate


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """Returns the mean of the channels, float32 [frames] in [-1, 1]."""
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
