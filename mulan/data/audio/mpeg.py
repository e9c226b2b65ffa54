"""The chain of frames that MPEG audio is made of: layers I to III of MPEG 1, 2 and 2.5.

What a Xing, Info or VBRI frame says of their number is a claim: files are cut, joined and edited by programs that leave
it as it is. A frame's header says where the next one begins, so that they can be counted without being decoded.
"""

from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from mulan.data.audio.encoded import Encoded

_HEADER_BYTES = 4
_SIDE_BYTES = 38
"""Of a frame, its header, checksum and side information: in them is no data of others."""
_RESERVOIR_BYTES = 511
"""How far before its frame the data of layer III may begin, at most."""
_FARTHEST_START = 2**16
"""Bytes of something else in front of the first frame."""

_V1_L1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1_L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KILOBITS = {(1, 1): _V1_L1, (1, 2): _V1_L2, (1, 3): _V1_L3, (2, 1): _V2_L1, (2, 2): _V2_L23, (2, 3): _V2_L23}
"""By version and layer, for the codes 1 to 14. Code 0 is a rate that the header does not tell."""


@dataclass(frozen=True)
class MpegFrames:
    """What a file of MPEG audio is made of."""

    places: "array[int]"
    """First bytes of all frames, and the end of the last one."""
    samples_per_frame: int
    rate_hz: int
    told: bool
    """Whether the first frame is a Xing or Info frame, which tells the number of the others."""
    padding: tuple[int, int] = (0, 0)
    """Samples in front and behind that it says are the encoder's."""

    @property
    def count(self) -> int:
        """Of frames, with the one that tells their number, if there is one."""
        return len(self.places) - 1

    def needed_before(self, frame: int) -> int:
        """How many frames must be decoded for one to be decoded rightly: data of a frame may begin in those before it.

        A frame is added to those of the one before, into which its sound overlaps.
        """
        first, data = min(frame, self.count) - 1, 0
        while first > 0 and data < _RESERVOIR_BYTES:
            first -= 1
            data += max(0, self.places[first + 1] - self.places[first] - _SIDE_BYTES)
        return max(0, frame - first)


def mpeg_frames(file: Encoded) -> MpegFrames | None:
    """The frames of a file that is one chain of frames of one kind, with tags at its ends; None if it is not."""
    start = _first_frame(file)
    if start is None:
        return None
    data, begin = file.piece(start)
    sizes, samples, rate_hz = _frame_sizes(*data[begin + 1 : begin + 4])
    first = data[begin : begin + sizes[data[begin : begin + 4]]]
    if first[36:40] == b"VBRI":  # which libsndfile plays
        return None
    places = _walk(file, start, sizes)
    if places is None:
        return None
    xing = max(first.find(name, 0, 64) for name in (b"Xing", b"Info"))
    return MpegFrames(places, samples, rate_hz, xing >= 0, _padding(first, xing) if xing >= 0 else (0, 0))


def size_of_id3(data: bytes, at: int) -> int:
    """Bytes of an ID3v2 tag that begins there; 0 if there is none."""
    header = data[at : at + 10]
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    size = 0
    for byte in header[6:]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if header[5] & 0x10 else 0)


def _first_frame(file: Encoded) -> int | None:
    """Its place: that of the first header that another one of its kind follows where it says."""
    start = 0
    while start < len(file):
        data, begin = file.piece(start)
        if not (size := size_of_id3(data, begin)):
            break
        start += size
    if start >= len(file):
        return None
    data, begin = file.piece(start)
    at = data.find(b"\xff", begin)
    while 0 <= at < begin + _FARTHEST_START and at + _HEADER_BYTES <= len(data):
        sizes, _, _ = _frame_sizes(*data[at + 1 : at + 4])
        size = sizes.get(data[at : at + 4], 0)
        if size and (data[at + size : at + size + 4] in sizes or start + at - begin + size == len(file)):
            return start + at - begin
        at = data.find(b"\xff", at + 1)
    return None


def _walk(file: Encoded, place: int, sizes: dict[bytes, int]) -> "array[int] | None":
    """The places of all frames from one on, and of the end; None where something else is among them."""
    places, size_of = array("Q"), sizes.get
    add = places.append
    while place < len(file):
        data, begin = file.piece(place)
        at, shift = begin, place - begin
        while size := size_of(data[at : at + 4]):
            add(at + shift)
            at += size
        if at == begin:
            break
        place += at - begin
    add(place)
    return places if _is_end(file, place) else None


def _is_end(file: Encoded, place: int) -> bool:
    """Whether nothing but tags and zeros follows, and no frame is cut off."""
    while place < len(file):
        data, begin = file.piece(place)
        rest = len(file) - place
        if rest < _HEADER_BYTES or (rest == 128 and data[begin : begin + 3] == b"TAG"):
            return True
        if data[begin : begin + 8] == b"APETAGEX":
            place += 32 + int.from_bytes(data[begin + 12 : begin + 16], "little")
        elif size := size_of_id3(data, begin):
            place += size
        else:
            return rest <= len(data) - begin and not any(data[begin:])
        if place > len(file):
            return True
    return place == len(file)


def _padding(first: bytes, xing: int) -> tuple[int, int]:
    """Samples that an encoder put in front and behind, by its extension of the Xing frame."""
    flags = int.from_bytes(first[xing + 4 : xing + 8])
    lame = xing + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    both = int.from_bytes(first[lame + 21 : lame + 24])
    return both >> 12, both & 0xFFF


def _frame_sizes(second: int, third: int, fourth: int) -> tuple[dict[bytes, int], int, int]:
    """Bytes of a frame by its header, for all frames of the kind of one, and the samples of each, and their rate in Hz.

    The arguments are the bytes of its header but the first, which is 255.
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
