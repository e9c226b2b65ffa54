"""Encoded audio files for tests, in formats that libsndfile and FFmpeg write."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
"""FFmpeg's channel layouts by number of channels."""


def by_libsndfile(samples: np.ndarray, rate_hz: int, container: str, subtype: str | None = None, **how: float) -> bytes:
    """Encodes samples, float [frames] or [frames, channels] in [-1, 1], in a format of libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def by_ffmpeg(samples: np.ndarray, rate_hz: int, container: str, codec: str, **options: str) -> bytes:
    """Encodes samples, float [frames] or [frames, channels] in [-1, 1], in a format of FFmpeg, reproducibly."""
    channels = samples.reshape(len(samples), -1).T.astype(np.float32)
    layout = LAYOUTS[len(channels)]
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg reopens the file to move the index to the front
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
    """Encodes an MP3 of constant bit rate, whose first frame (Info) states the number of the others."""
    return by_libsndfile(samples, rate_hz, "MP3", bitrate_mode="CONSTANT", compression_level=0.5)


def vbr_mp3(samples: np.ndarray, rate_hz: int) -> bytes:
    """Encodes an MP3 of variable bit rate, whose first frame (Xing) states the number of the others."""
    return by_libsndfile(samples, rate_hz, "MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def without_xing(mp3: bytes) -> bytes:
    """Returns an MP3 without the frame that states the number of the others."""
    place = mp3.index(b"Xing")
    return mp3[: mp3.rindex(b"\xff\xfb", 0, place)] + mp3[mp3.index(b"\xff\xfb", place) :]


def with_xing_count(mp3: bytes, times: float) -> bytes:
    """Returns an MP3 whose Xing frame states ``times`` the number of frames."""
    place = mp3.index(b"Xing") + 8
    count = round(int.from_bytes(mp3[place : place + 4]) * times)
    return mp3[:place] + count.to_bytes(4) + mp3[place + 4 :]


def with_flac_frames(flac: bytes, frames: int) -> bytes:
    """Returns a FLAC file whose header states this number of frames."""
    fields = int.from_bytes(flac[18:26])  # rate, channels, bits, and in the last 36 bits the frames
    return flac[:18] + (fields >> 36 << 36 | frames).to_bytes(8) + flac[26:]
