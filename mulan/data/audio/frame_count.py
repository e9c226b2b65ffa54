"""Whether libsndfile knows the length of a file, or has only estimated it or believed a header.

A window is drawn from the whole length, so a wrong one would hide sound, or promise some that is not there. What cannot
be told here is found by decoding all of it (:mod:`mulan.data.audio.sound`), which takes longer and is never wrong.
"""

from dataclasses import dataclass

import soundfile

from mulan.data.audio.encoded import Encoded, joined_files
from mulan.data.audio.flac import is_one_flac_stream
from mulan.data.audio.mpeg import MpegFrames, mpeg_frames, size_of_id3

_READ_AHEAD = 4
"""Frames of MPEG audio that libsndfile decodes by itself before the place that it is sent to."""

_DECODER_DELAY = 529
"""Samples that are left out in front besides those that the encoder tells of."""

_OPUS_SETTLES_S = 1.0
"""Seconds until Opus no longer depends on where it began: it predicts speech at low bit rates from what was before."""

_LARGEST_PAGE = 65_307
"""Bytes of Ogg."""
_OVERLAP = 8192
"""Samples of a block of Vorbis, at most."""

_MAX_UNEXPLAINED = 0.1
"""Share of a file of plain samples that may be something else: tags, pictures, markers."""

_SAMPLE_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}


@dataclass(frozen=True)
class KnownLength:
    """What libsndfile rightly says of a file."""

    frames: int
    mpeg: MpegFrames | None = None
    """What it consists of, if it is MPEG audio."""
    settles: int = 0
    """Samples that its decoder needs until what it gives no longer depends on where it began."""
    last_page: int | None = None
    """The sample with which the last page begins, if it is Ogg."""

    def needed_before(self, start: int) -> int:
        """Samples before one that libsndfile must have read before it reads this one rightly."""
        if self.settles:
            return min(start, self.settles)
        if self.last_page is not None and start >= self.last_page - _OVERLAP:
            # in the last page libsndfile counts from where the sound is cut, and not from where the page begins
            return start - max(0, self.last_page - 2 * _OVERLAP)
        if self.mpeg is None:
            return 0
        size, (front, _) = self.mpeg.samples_per_frame, self.mpeg.padding
        in_front = (size if self.mpeg.told else 0) + (front + _DECODER_DELAY if front else 0)
        needed = self.mpeg.needed_before((in_front + start) // size)
        return min(start, needed * size) if needed > _READ_AHEAD else 0


def known_length(file: Encoded, opened: soundfile.SoundFile) -> KnownLength | None:
    """The length of a file that libsndfile has opened, if what it says is the truth; None where that cannot be told."""
    told = int(opened.frames)
    if not 0 < told < 2**62:
        return None
    if opened.subtype.startswith("MPEG"):
        found = mpeg_frames(file)
        same = found is not None and found.rate_hz == opened.samplerate  # else libsndfile reads other frames
        frames = _told_of_mpeg(told, found) if found and same else None
        return KnownLength(frames, found) if frames else None
    if opened.format == "FLAC":
        return KnownLength(told) if is_one_flac_stream(file, told) else None
    data, begin = file.piece(0)
    if size_of_id3(data, begin) or len(joined_files(file)) > 1:  # libsndfile counts from the tag, which is not its own
        return None
    if opened.subtype == "OPUS":
        return KnownLength(told, settles=int(_OPUS_SETTLES_S * opened.samplerate))
    if opened.subtype == "VORBIS":
        return KnownLength(told, last_page=_start_of_last_page(file))
    sound = told * opened.channels * _SAMPLE_BYTES.get(opened.subtype, 0)
    unexplained = len(file) - sound if sound else 0
    return KnownLength(told) if unexplained <= max(4096, _MAX_UNEXPLAINED * len(file)) else None


def _start_of_last_page(file: Encoded) -> int:
    """The samples of an Ogg Vorbis stream that are complete before its last page begins."""
    data, begin = file.piece(max(0, len(file) - 2 * _LARGEST_PAGE))
    pages, at = 0, len(data)
    while (at := data.rfind(b"OggS\0", begin, at)) >= 0:
        samples = int.from_bytes(data[at + 6 : at + 14], "little", signed=True)
        pages += 1
        if pages > 1 and samples >= 0:  # -1: no packet ends on the page
            return samples
    return 0


def _told_of_mpeg(told: int, found: MpegFrames) -> int | None:
    whole = found.count * found.samples_per_frame
    if not found.told:  # an estimate, beyond which libsndfile does not read
        lost = min(found.samples_per_frame, whole // 100)
        too_many = max(2 * found.samples_per_frame, whole // 20)  # else these are not the frames that it reads
        return min(told, whole) if whole - lost <= told <= whole + too_many else None
    whole -= found.samples_per_frame  # the frame that tells is no sound
    return told if told in (whole, whole - sum(found.padding)) else None
