"""Counting of the frames of MPEG audio without decoding: layers I to III of MPEG 1, 2 and 2.5.

The number of frames that a Xing, Info or VBRI frame declares is not reliable: programs that cut, join and edit files do
not update it. The frames are therefore counted by following the sizes in their headers.
"""

from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from mulan.data.audio.source import AudioSource

_HEADER_BYTES = 4
_SIDE_BYTES = 38
"""Size in bytes of a frame's header, checksum and side information, which contain no data of other frames."""
_RESERVOIR_BYTES = 511
"""Maximum number of bytes of layer III data of a frame in the frames before it (bit reservoir)."""
_MAX_START = 2**16
"""Maximum number of bytes of other data before the first frame."""

_V1_L1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1_L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KILOBITS = {(1, 1): _V1_L1, (1, 2): _V1_L2, (1, 3): _V1_L3, (2, 1): _V2_L1, (2, 2): _V2_L23, (2, 3): _V2_L23}
"""Bit rates in kbit/s by version and layer, for the codes 1 to 14. Code 0 is a bit rate that the header omits."""


@dataclass(frozen=True)
class MpegFrames:
    """The frames of a file of MPEG audio."""

    offsets: "array[int]"
    """Offsets of all frames in bytes, and of the end of the last one."""
    samples_per_frame: int
    rate_hz: int
    has_info_frame: bool
    """Whether the first frame is a Xing or Info frame, which declares the number of frames."""
    padding: tuple[int, int] = (0, 0)
    """Number of samples that the encoder added at the start and at the end, according to the info frame."""

    @property
    def count(self) -> int:
        """Number of frames, including the info frame."""
        return len(self.offsets) - 1

    def preroll(self, frame: int) -> int:
        """Returns the number of frames to decode before a frame for it to be decoded correctly.

        These are the frames in which its data begin, and one more, whose output overlaps with the first of them.
        """
        first, data = min(frame, self.count) - 1, 0
        while first > 0 and data < _RESERVOIR_BYTES:
            first -= 1
            data += max(0, self.offsets[first + 1] - self.offsets[first] - _SIDE_BYTES)
        return max(0, frame - first)


def mpeg_frames(file: AudioSource) -> MpegFrames | None:
    """Returns the frames of a file that consists of frames of one kind, with tags at its ends; None for other files."""
    start = _first_frame(file)
    if start is None:
        return None
    data, begin = file.read_chunk(start)
    sizes, samples, rate_hz = _frame_sizes(*data[begin + 1 : begin + 4])
    first = data[begin : begin + sizes[data[begin : begin + 4]]]
    if first[36:40] == b"VBRI":  # libsndfile decodes it as audio
        return None
    offsets = _frame_offsets(file, start, sizes)
    if offsets is None:
        return None
    xing = max(first.find(name, 0, 64) for name in (b"Xing", b"Info"))
    return MpegFrames(offsets, samples, rate_hz, xing >= 0, _padding(first, xing) if xing >= 0 else (0, 0))


def id3_size(data: bytes, at: int) -> int:
    """Returns the size in bytes of the ID3v2 tag at index ``at``; 0 if there is none."""
    header = data[at : at + 10]
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    size = 0
    for byte in header[6:]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if header[5] & 0x10 else 0)


def _first_frame(file: AudioSource) -> int | None:
    """Returns the offset of the first frame header that is followed, after its frame, by a header of the same kind."""
    start = 0
    while start < len(file):
        data, begin = file.read_chunk(start)
        if not (size := id3_size(data, begin)):
            break
        start += size
    if start >= len(file):
        return None
    data, begin = file.read_chunk(start)
    at = data.find(b"\xff", begin)
    while 0 <= at < begin + _MAX_START and at + _HEADER_BYTES <= len(data):
        sizes, _, _ = _frame_sizes(*data[at + 1 : at + 4])
        size = sizes.get(data[at : at + 4], 0)
        if size and (data[at + size : at + size + 4] in sizes or start + at - begin + size == len(file)):
            return start + at - begin
        at = data.find(b"\xff", at + 1)
    return None


def _frame_offsets(file: AudioSource, offset: int, sizes: dict[bytes, int]) -> "array[int] | None":
    """Returns the offsets of all frames from ``offset`` on, and of the end; None if there are other data in between."""
    offsets, size_of = array("Q"), sizes.get
    add = offsets.append
    while offset < len(file):
        data, begin = file.read_chunk(offset)
        at, shift = begin, offset - begin
        while size := size_of(data[at : at + 4]):
            add(at + shift)
            at += size
        if at == begin:
            break
        offset += at - begin
    add(offset)
    return offsets if _is_end(file, offset) else None


def _is_end(file: AudioSource, offset: int) -> bool:
    """Returns whether only tags and zeros follow, and no frame is truncated."""
    while offset < len(file):
        data, begin = file.read_chunk(offset)
        rest = len(file) - offset
        if rest < _HEADER_BYTES or (rest == 128 and data[begin : begin + 3] == b"TAG"):
            return True
        if data[begin : begin + 8] == b"APETAGEX":
            offset += 32 + int.from_bytes(data[begin + 12 : begin + 16], "little")
        elif size := id3_size(data, begin):
            offset += size
        else:
            return rest <= len(data) - begin and not any(data[begin:])
        if offset > len(file):
            return True
    return offset == len(file)


def _padding(first: bytes, xing: int) -> tuple[int, int]:
    """Returns the number of samples that the encoder added at the start and the end, from LAME's Xing extension."""
    flags = int.from_bytes(first[xing + 4 : xing + 8])
    lame = xing + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    both = int.from_bytes(first[lame + 21 : lame + 24])
    return both >> 12, both & 0xFFF


def _frame_sizes(second: int, third: int, fourth: int) -> tuple[dict[bytes, int], int, int]:
    """Returns the sizes in bytes by header of all frames of one kind, their number of samples, and their rate in Hz.

    The arguments are the bytes of one frame's header after the first, which is 255.
    """
    return _sizes_of_kind(second, third >> 2 & 3, fourth >= 0xC0)


@lru_cache(maxsize=64)
def _sizes_of_kind(second: int, rate_code: int, mono: bool) -> tuple[dict[bytes, int], int, int]:
    version, layer = 1 if second >> 3 & 3 == 3 else 2, 4 - (second >> 1 & 3)
    if second & 0xE0 != 0xE0 or second >> 3 & 3 == 1 or layer == 4 or rate_code == 3:
        return {}, 0, 0
    rate_hz = (44_100, 48_000, 32_000)[rate_code] >> {3: 0, 2: 1, 0: 2}[second >> 3 & 3]
    samples = 384 if layer == 1 else 576 if (version, layer) == (2, 3) else 1152
    slot = 4 if layer == 1 else 1  # bytes
    sizes = {}
    for code, kilobits in enumerate(_KILOBITS[version, layer], 1):
        for padding, private in product((0, 1), (0, 1)):
            size = (samples // 8 // slot * 1000 * kilobits // rate_hz + padding) * slot
            third = code << 4 | rate_code << 2 | padding << 1 | private
            for fourth in range(0xC0, 256) if mono else range(0xC0):
                sizes[bytes((0xFF, second, third, fourth))] = size
    return sizes, samples, rate_hz
