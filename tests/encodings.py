"""Encoded files to test with, of formats that are written by libsndfile and by FFmpeg."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
"""Of channels, in FFmpeg's words."""


def by_libsndfile(samples: np.ndarray, rate_hz: int, container: str, subtype: str | None = None, **how: float) -> bytes:
    """[frames] or [frames, channels], float in [-1, 1], as a file of one of libsndfile's formats."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def by_ffmpeg(samples: np.ndarray, rate_hz: int, container: str, codec: str, **options: str) -> bytes:
    """[frames] or [frames, channels], float in [-1, 1], as a file of one of FFmpeg's formats; always the same."""
    channels = samples.reshape(len(samples), -1).T.astype(np.float32)
    layout = LAYOUTS[len(channels)]
    with tempfile.TemporaryDirectory() as folder:  # to move the index to the front, FFmpeg opens the file once more
        path = Path(folder) / "file"
        with av.open(str(path), "w", format=container, options={"fflags": "bitexact"} | options) as output:
            stream = output.add_stream(codec, rate=rate_hz, layout=layout)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            context = stream.codec_context
            size = context.frame_size or 1024
            resampler = av.AudioResampler(context.format.name, layout, rate_hz, frame_size=size)
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
        return path.read_bytes()


def cbr_mp3(samples: np.ndarray, rate_hz: int) -> bytes:
    """An MP3 of constant bit rate, the first frame of which (Info) tells the number of the others."""
    return by_libsndfile(samples, rate_hz, "MP3", bitrate_mode="CONSTANT", compression_level=0.5)


def vbr_mp3(samples: np.ndarray, rate_hz: int) -> bytes:
    """An MP3 of variable bit rate, the first frame of which (Xing) tells the number of the others."""
    return by_libsndfile(samples, rate_hz, "MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def without_xing(mp3: bytes) -> bytes:
    """An MP3 less the frame that tells the number of the others."""
    place = mp3.index(b"Xing")
    return mp3[: mp3.rindex(b"\xff\xfb", 0, place)] + mp3[mp3.index(b"\xff\xfb", place) :]


def with_xing_count(mp3: bytes, times: float) -> bytes:
    """An MP3 whose Xing frame tells so many times the number of frames."""
    place = mp3.index(b"Xing") + 8
    count = round(int.from_bytes(mp3[place : place + 4]) * times)
    return mp3[:place] + count.to_bytes(4) + mp3[place + 4 :]


def with_flac_frames(flac: bytes, frames: int) -> bytes:
    """A FLAC file whose header promises so many."""
    fields = int.from_bytes(flac[18:26])  # rate, channels, bits, and in the last 36 bits the frames
    return flac[:18] + (fields >> 36 << 36 | frames).to_bytes(8) + flac[26:]
