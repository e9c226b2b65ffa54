"""Audio files of every format that can be written here."""

import io

import av
import numpy as np
import soundfile

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
"""Of channels, in FFmpeg's words."""


def by_libsndfile(samples: np.ndarray, rate_hz: int, container: str, subtype: str) -> bytes:
    """A file of float32 [frames, channels]."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def by_ffmpeg(samples: np.ndarray, rate_hz: int, container: str, codec: str) -> bytes:
    """A file of float32 [frames, channels]."""
    buffer, layout = io.BytesIO(), LAYOUTS[samples.shape[1]]
    with av.open(buffer, "w", format=container, options={"fflags": "bitexact"}) as muxer:  # no random identifiers
        stream = muxer.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            muxer.mux(packet)
    return buffer.getvalue()


def mp3(samples: np.ndarray, rate_hz: int, *, variable: bool, announced: bool) -> bytes:
    """An MP3 file of constant or variable bit rate, with or without the frame that tells its length."""
    buffer = io.BytesIO()
    mode = "VARIABLE" if variable else "CONSTANT"
    soundfile.write(
        buffer, samples, rate_hz, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5
    )
    content = buffer.getvalue()
    if announced:
        return content
    second = content.index(content[:2], 4)  # frames of one file begin alike
    return content[second:]


def id3v2(content_bytes: int) -> bytes:
    """A tag to stand in front of a file: a title, and padding."""
    title = b"TIT2" + (6).to_bytes(4) + b"\0\0" + b"\0title"
    size = max(content_bytes, len(title))
    septets = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + septets + title.ljust(size, b"\0")


def id3v1() -> bytes:
    """A tag to stand behind a file."""
    return b"TAG" + b"title".ljust(30, b"\0") + bytes(94) + b"\xff"


def apev2() -> bytes:
    """A tag to stand behind a file."""
    item = (5).to_bytes(4, "little") + bytes(4) + b"Title\0" + b"title"

    def end(flags: int) -> bytes:
        return b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in (2000, len(item) + 32, 1, flags)) + bytes(8)

    return end(0xA0000000) + item + end(0x80000000)
