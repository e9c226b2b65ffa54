"""The members of WebDataset tars: their keys, the bytes they take, and which of them make a recording.

Keys are WebDataset's: a member's name up to the first dot behind its last slash, folders included. Neighbours with one
key are a sample. What a Mac adds (``._NAME``, ``__MACOSX/``), other hidden files and WebDataset's own ``__NAME__`` are
passed over.
"""

import io
import re
import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mulan.data.errors import BadRecording


class Member(NamedTuple):
    """A file in a tar: its name with the folders, the first byte of its content, and the content's length."""

    name: str
    start: int
    size: int


class Sample(NamedTuple):
    """Neighbours with one key: the first byte of their headers, and the one behind their contents."""

    key: str
    start: int
    end: int


_KEY_AND_EXTENSION = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_NO_SAMPLE = re.compile(r"__[^/]*__($|/)|(.*/)?__MACOSX/|(.*/)?\.[^/]*$", re.DOTALL)

_TO_BE_ENCODED = re.compile(r"[%.\\\x00-\x1f\x7f-\x9f]|(?<![^/])_(?=_)")

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}

_HEADER = struct.Struct("100s 24x 12s 12x 8s 1s 100x 5s 83x 155s 12x")
"""Name, size, checksum, type, magic and folders of a POSIX tar header, a block of 512 bytes."""

_PADDING_BYTES = 2**20
"""Behind a tar's end mark, in which there should be nothing."""

_OCTAL = frozenset(b"01234567")


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension (all behind the first dot, in small letters) of a member; None for one to be passed over."""
    found = None if _NO_SAMPLE.match(name) else _KEY_AND_EXTENSION.fullmatch(name)
    return (found[1], found[2].lower()) if found else None


def key_of(recording_id: str) -> str:
    """The key under which a recording is written: its id, with whatever cannot stand in a key percent-encoded.

    That is dots, control characters, backslashes and the percent sign, two underscores that begin a part, and every
    slash if the parts between slashes are not all names. So each id has its own key, a key ends at the member's first
    dot, and no member leaves the folder into which a tar is extracted.
    """
    key = _TO_BE_ENCODED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), recording_id)
    return key if all(key.split("/")) else key.replace("/", "%2F")


def samples_in(file: BinaryIO) -> Iterator[Sample]:
    """The samples of a tar, in order. The last one of a tar that is cut off may be incomplete.

    Raises:
        BadRecording: compressed or no tar; or damaged or cut off, behind the samples that were given before.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    _refuse_compressed(file.read(6))
    file.seek(0)
    key, start, end = "", 0, 0
    damage: BadRecording | None = None
    after = 0
    try:
        for member, after in _files(file, size):
            split = split_name(member.name)
            if split is None:
                continue
            if split[0] != key:
                if key:
                    yield Sample(key, start, min(end, size))
                key, start = split[0], member.offset
            end = after
    except BadRecording as error:
        damage = error
    if key:
        yield Sample(key, start, min(end, size))
    if damage and end <= size:  # otherwise the last sample shows it
        raise damage


def members_in(fragment: bytes) -> list[Member]:
    """All files in a part of a tar, which may be cut off.

    Raises:
        BadRecording: there are no members' headers, or one that cannot be read.
    """
    return _plain_members(fragment) or _any_members(fragment)


def _plain_members(fragment: bytes) -> list[Member]:
    """The members if all of them have nothing but a plain POSIX header, as nearly all do; none otherwise.

    ``tarfile`` takes so long over a header that it is felt beside the decoding of ten seconds of FLAC.
    """
    members, offset = [], 0
    while offset < len(fragment):
        header = fragment[offset : offset + _HEADER.size]
        if len(header) < _HEADER.size:
            return []
        name, digits, checksum, kind, magic, folders = _HEADER.unpack(header)
        expected = sum(header) - sum(checksum) + 8 * ord(" ")  # by definition its own bytes count as spaces
        genuine = magic == b"ustar" and checksum == b"%06o\0 " % expected
        if not (genuine and kind == tarfile.REGTYPE and _OCTAL.issuperset(digits[:11])):  # larger sizes are not octal
            return []
        size = int(digits[:11], 8)
        name = name.partition(b"\0")[0]
        if folders[0]:
            name = folders.partition(b"\0")[0] + b"/" + name
        members.append(Member(name.decode(errors="surrogateescape"), offset + _HEADER.size, size))
        offset += _HEADER.size - (-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return members


def _any_members(fragment: bytes) -> list[Member]:
    members = []
    for member, _ in _files(io.BytesIO(fragment), len(fragment), whole=False):
        if member.issparse():
            raise BadRecording("sparse member", f"{member.name}; make the tar anew without --sparse")
        members.append(Member(member.name, member.offset_data, member.size))
    return members


def _files(file: BinaryIO, size: int, *, whole: bool = True) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The files in a tar, with headers of every kind, each with the place behind its content.

    Args:
        size: of the tar, in bytes.
        whole: whether the tar must have its end mark, without which it may have lost recordings.

    Raises:
        BadRecording: no tar, or damaged or cut off behind the members that were given before.
        OSError: of the storage that the tar is on.
    """
    after = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            for member in tar:
                if member.offset < after or tar.offset <= member.offset:  # it would be met again, without end
                    raise tarfile.ReadError("a member of negative length")
                after = tar.offset
                if member.isfile():
                    yield member, after
                if after > size:
                    raise tarfile.ReadError(f"{member.name} goes on behind the end")
            file.seek(after)
            rest = file.read(_PADDING_BYTES) if whole else b""
            if whole and len(rest) < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark: it is cut off or damaged")
            if any(rest):
                raise tarfile.ReadError("something follows the end mark: was another tar joined to it? split them")
    except (OSError, BadRecording):
        raise
    except Exception as error:  # tarfile takes extended headers at their word, and fails in many ways
        raise BadRecording("truncated shard", f"no members of a tar from byte {after} on: {error}") from error


def _refuse_compressed(start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise BadRecording(
                "compressed shard", f"it is compressed ({name}), and recordings are read by their places; unpack it"
            )
