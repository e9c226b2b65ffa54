"""Audio files with tags, which FFmpeg writes."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {"mp3": "libmp3lame", "flac": "flac", "oga": "flac", "opus": "libopus", "m4a": "aac", "wav": "pcm_s16le"}
"""Formats by extension, with a codec of each."""


def write_tagged(path: Path, tags: Mapping[str, str], *, picture: bool = False) -> None:
    """Writes a tenth of a second of noise in the format of the extension, with tags by FFmpeg's names.

    Args:
        path: Path of the file; its folder is created.
        tags: Tags such as ``title``, ``artist``, ``album_artist``, ``album``, ``genre`` and ``comment``.
        picture: Whether the file gets a second stream with a cover picture.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32)
    container = "mp4" if picture and path.suffix == ".m4a" else None  # FFmpeg's "ipod" has no pictures
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(CODECS[path.suffix[1:]], rate=48_000, layout="stereo")
        cover = output.add_stream("mjpeg", rate=1) if picture else None
        # Ogg keeps the tags of its streams, the others those of the file
        (stream if path.suffix in (".oga", ".opus") else output).metadata.update(tags)
        if cover is not None:
            cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
            image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            packets = [*cover.encode(image.reformat(format="yuvj420p")), *cover.encode(None)]
            output.mux(packets)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format.name, "stereo", 48_000, frame_size=context.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
