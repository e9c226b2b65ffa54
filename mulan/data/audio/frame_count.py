"""Verification of the lengths that libsndfile reports, which may be estimates or unverified header fields.

Windows are drawn from the whole length, so a wrong one would exclude audio or include what does not exist. A length
that cannot be verified is determined by decoding the file (:mod:`mulan.data.audio.sound`), which is slower and exact.
"""

from dataclasses import dataclass

import soundfile

from mulan.data.audio.flac import is_single_flac_stream
from mulan.data.audio.mpeg import MpegFrames, id3_size, mpeg_frames
from mulan.data.audio.source import AudioSource, split_concatenated

_READ_AHEAD = 4
"""Number of MPEG frames that libsndfile decodes before the position of a seek."""

_DECODER_DELAY = 529
"""Number of samples that are removed at the start in addition to those that the encoder states."""

_OPUS_PREROLL_S = 1.0
"""Time in seconds until Opus output no longer depends on where decoding began: speech at low bit rates is predicted."""

_MAX_PAGE_BYTES = 65_307
"""Maximum size of an Ogg page in bytes."""
_OVERLAP = 8192
"""Maximum number of samples of a Vorbis block."""

_MAX_UNEXPLAINED = 0.1
"""Maximum fraction of a file of raw samples that may contain other data: tags, pictures, markers."""

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
class ReliableLength:
    """The verified length of a file, and how to seek in it."""

    frames: int
    mpeg: MpegFrames | None = None
    """Frames of the file if it is MPEG audio, None otherwise."""
    fixed_preroll: int = 0
    """Number of samples to decode until the output no longer depends on where decoding began; 0 if it varies."""
    last_page: int | None = None
    """Position of the first sample of the last page if the file is Ogg Vorbis, None otherwise."""

    def preroll(self, start: int) -> int:
        """Returns the number of samples that libsndfile must decode before ``start`` to decode from there correctly."""
        if self.fixed_preroll:
            return min(start, self.fixed_preroll)
        if self.last_page is not None and start >= self.last_page - _OVERLAP:
            # in the last page libsndfile counts from the end of the stream instead of from the start of the page
            return start - max(0, self.last_page - 2 * _OVERLAP)
        if self.mpeg is None:
            return 0
        size, (front, _) = self.mpeg.samples_per_frame, self.mpeg.padding
        skipped = (size if self.mpeg.has_info_frame else 0) + (front + _DECODER_DELAY if front else 0)
        frames = self.mpeg.preroll((skipped + start) // size)
        return min(start, frames * size) if frames > _READ_AHEAD else 0


def reliable_length(file: AudioSource, opened: soundfile.SoundFile) -> ReliableLength | None:
    """Returns the length of a file that libsndfile has opened; None if the length it reports cannot be verified."""
    reported = int(opened.frames)
    if not 0 < reported < 2**62:
        return None
    if opened.subtype.startswith("MPEG"):
        mpeg = mpeg_frames(file)
        same = mpeg is not None and mpeg.rate_hz == opened.samplerate  # otherwise libsndfile reads different frames
        frames = _verified_mpeg_length(reported, mpeg) if mpeg and same else None
        return ReliableLength(frames, mpeg) if frames else None
    if opened.format == "FLAC":
        return ReliableLength(reported) if is_single_flac_stream(file, reported) else None
    data, begin = file.read_chunk(0)
    if id3_size(data, begin) or len(split_concatenated(file)) > 1:  # libsndfile's offsets are wrong after a foreign tag
        return None
    if opened.subtype == "OPUS":
        return ReliableLength(reported, fixed_preroll=int(_OPUS_PREROLL_S * opened.samplerate))
    if opened.subtype == "VORBIS":
        return ReliableLength(reported, last_page=_start_of_last_page(file))
    sample_bytes = reported * opened.channels * _SAMPLE_BYTES.get(opened.subtype, 0)
    unexplained = len(file) - sample_bytes if sample_bytes else 0
    return ReliableLength(reported) if unexplained <= max(4096, _MAX_UNEXPLAINED * len(file)) else None


def _start_of_last_page(file: AudioSource) -> int:
    """Returns the number of samples of an Ogg Vorbis stream that are complete before its last page."""
    data, begin = file.read_chunk(max(0, len(file) - 2 * _MAX_PAGE_BYTES))
    pages, at = 0, len(data)
    while (at := data.rfind(b"OggS\0", begin, at)) >= 0:
        samples = int.from_bytes(data[at + 6 : at + 14], "little", signed=True)
        pages += 1
        if pages > 1 and samples >= 0:  # -1: no packet ends on the page
            return samples
    return 0


def _verified_mpeg_length(reported: int, mpeg: MpegFrames) -> int | None:
    total = mpeg.count * mpeg.samples_per_frame
    if not mpeg.has_info_frame:  # libsndfile reports an estimate, and does not read beyond it
        lost = min(mpeg.samples_per_frame, total // 100)
        excess = max(2 * mpeg.samples_per_frame, total // 20)  # a larger excess means that it reads different frames
        return min(reported, total) if total - lost <= reported <= total + excess else None
    total -= mpeg.samples_per_frame  # the info frame has no audio
    return reported if reported in (total, total - sum(mpeg.padding)) else None
