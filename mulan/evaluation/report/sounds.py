"""Short excerpts of recordings that a page contains itself, so that retrieved recordings can be heard.

They are MP3, which every browser plays and whose bytes depend on nothing but the samples; Ogg streams have random
serial numbers.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import soundfile

from mulan.data.audio.windows import decode_window
from mulan.data.errors import DecodeError

MEDIA_TYPE = "audio/mpeg"
SECONDS = 7.0
"""Length of an excerpt from the middle of a recording."""
MAX_BYTES = 2_200_000
"""Default maximum size of all excerpts of a page, which are a third larger in its text."""
_RATE_HZ = 24_000
_COMPRESSION = 0.7
"""Quality of the variable bit rate, from 0 to 1 (smallest); 0.7 needs about 4 kB/s at 24 kHz."""


@dataclass(frozen=True)
class HeardRecording:
    """A recording of a set; ids are unique in a corpus, and a set is of one."""

    section: str
    """Path of the section."""
    set_name: str
    """Name of the set."""
    recording_id: str
    """Id of the recording."""


@dataclass(frozen=True)
class Excerpts:
    """The excerpts of a page."""

    mp3: dict[HeardRecording, bytes] = field(default_factory=dict)
    """MP3 files of recordings."""
    missing: dict[HeardRecording, str] = field(default_factory=dict)
    """Why recordings have none."""


def excerpts(
    recordings: Iterable[HeardRecording],
    read: Callable[[HeardRecording], bytes | None],
    *,
    max_bytes: int = MAX_BYTES,
) -> Excerpts:
    """Returns an excerpt of each recording, in this order, until their maximum size is reached.

    Args:
        recordings: The recordings, the most important ones first.
        read: Returns the encoded file of a recording; None if there is none.
        max_bytes: Maximum size of all excerpts in bytes; equal ones count once.
    """
    found: dict[HeardRecording, bytes] = {}
    missing: dict[HeardRecording, str] = {}
    distinct: set[bytes] = set()
    for recording in recordings:
        audio = read(recording)
        if audio is None:
            missing[recording] = "its audio is not available"
            continue
        try:
            excerpt = encode_excerpt(audio)
        except DecodeError as error:
            missing[recording] = str(error)
            continue
        if sum(map(len, distinct | {excerpt})) > max_bytes:
            missing[recording] = "the page would become too large"
            continue
        distinct.add(excerpt)
        found[recording] = excerpt
    return Excerpts(found, missing)


def encode_excerpt(audio: bytes) -> bytes:
    """Returns the middle of a recording as a mono MP3 of :data:`SECONDS`; shorter recordings are kept whole.

    Args:
        audio: Encoded file in any format that mulan reads.

    Raises:
        DecodeError: It cannot be decoded.
    """
    window = np.zeros(int(SECONDS * _RATE_HZ), np.int16)
    count = decode_window(audio, window, draw=0.5, sample_rate_hz=_RATE_HZ)
    content = io.BytesIO()
    soundfile.write(
        content,
        window[:count],
        _RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=_COMPRESSION,
    )
    return content.getvalue()
