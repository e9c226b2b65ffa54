"""The members of WebDataset tars: their keys and byte ranges.

Keys are those of WebDataset: the name of a member, with its folders, up to the first dot after the last slash. Files
that macOS adds (``._NAME``, ``__MACOSX/``), other hidden files and WebDataset's ``__NAME__`` are ignored.
"""

import io
import re
import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mulan.config.errors import MulanError
from mulan.data.errors import BadRecording


class Member(NamedTuple):
    """A file in a tar: its name including folders, and the offset and size of its content in bytes."""

    name: str
    start: int
    size: int


class Entry(NamedTuple):
    """A file in a tar that belongs to a recording, and where it is: numbers of bytes from the start of the tar."""

    number: int
    """Number of the file among those that are not ignored; adjacent ones have consecutive numbers."""
    name: str
    """Name including folders."""
    header: int
    """Offset of its header, or of the first of its headers if there are several."""
    start: int
    """Offset of its content."""
    size: int
    """Size of its content."""
    end: int
    """Offset of the end of its content, rounded up to whole blocks, which may be beyond the end of a truncated tar."""
    sparse: bool = False
    """Whether holes are left out, so that its content cannot be read by a range of bytes."""


_KEY_AND_EXTENSION = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_IGNORED = re.compile(r"__[^/]*__($|/)|(.*/)?__MACOSX/|(.*/)?\.[^/]*$", re.DOTALL)

_TO_ENCODE = re.compile(r"[%.\\\x00-\x1f\x7f-\x9f]|(?<![^/])_(?=_)")

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}

_HEADER = struct.Struct("100s 24x 12s 12x 8s 1s 100x 5s 83x 155s 12x")
"""Name, size, checksum, type, magic and folders of a POSIX tar header, a block of 512 bytes."""

_PADDING_BYTES = 2**20
"""Number of bytes after the end mark of a tar that must be zero."""

_OCTAL = frozenset(b"01234567")


def split_name(name: str) -> tuple[str, str] | None:
    """Splits a member's name into key and lower-case extension, all after the first dot; returns None if ignored."""
    match = None if _IGNORED.match(name) else _KEY_AND_EXTENSION.fullmatch(name)
    return (match[1], match[2].lower()) if match else None


def key_of(recording_id: str) -> str:
    """Returns the key of a recording: its id, with the characters that a key cannot contain percent-encoded.

    These are dots, control characters, backslashes and percent signs, double underscores at the start of a component,
    and all slashes if a component between them is empty. Keys are therefore unique, contain no dot, and cannot point
    outside the folder into which a tar is extracted.
    """
    key = _TO_ENCODE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), recording_id)
    return key if all(key.split("/")) else key.replace("/", "%2F")


def iter_entries(file: BinaryIO) -> Iterator[Entry]:
    """Yields the files of a tar that are not ignored, in order; the last one of a truncated tar may be incomplete.

    Between two items the caller may move the position of the file.

    Raises:
        BadRecording: The file is compressed or not a tar, or is damaged or truncated after the files yielded so far.
        OSError: The storage of the tar failed.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    _refuse_compressed(file.read(6))
    file.seek(0)
    number = 0
    for entry in _files(file, size):
        if split_name(entry.name) is not None:
            yield entry._replace(number=number)
            number += 1


def list_members(fragment: bytes) -> list[Member]:
    """Returns all files in a fragment of a tar, which may be truncated.

    Raises:
        BadRecording: There is no header of a member, or one cannot be read.
    """
    return _plain_members(fragment) or _any_members(fragment)


def _plain_members(fragment: bytes) -> list[Member]:
    """Returns the members if all have plain POSIX headers, as nearly all do; none otherwise."""
    members, offset = [], 0
    while offset < len(fragment):
        entry = _plain_entry(fragment[offset : offset + _HEADER.size], offset)
        if entry is None:
            return []
        members.append(Member(entry.name, entry.start, entry.size))
        offset = entry.end
    return members


def _plain_entry(header: bytes, offset: int) -> Entry | None:
    """Returns the file with a plain POSIX header at ``offset``; None for any other header.

    With ``tarfile``, parsing headers takes a noticeable fraction of the time of decoding ten seconds of FLAC.
    """
    if len(header) < _HEADER.size:
        return None
    name, digits, checksum, kind, magic, folders = _HEADER.unpack(header)
    expected = sum(header) - sum(checksum) + 8 * ord(" ")  # by definition the checksum's bytes count as spaces
    genuine = magic == b"ustar" and checksum == b"%06o\0 " % expected
    if not (genuine and kind == tarfile.REGTYPE and _OCTAL.issuperset(digits[:11])):  # larger sizes are not octal
        return None
    size = int(digits[:11], 8)
    name = name.partition(b"\0")[0]
    if folders[0]:
        name = folders.partition(b"\0")[0] + b"/" + name
    start = offset + _HEADER.size
    end = start - (-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return Entry(0, name.decode(errors="surrogateescape"), offset, start, size, end)


def _any_members(fragment: bytes) -> list[Member]:
    members = []
    for entry in _files(io.BytesIO(fragment), len(fragment), whole=False):
        if entry.sparse:
            raise BadRecording("sparse member", f"{entry.name}; create the tar again without --sparse")
        members.append(Member(entry.name, entry.start, entry.size))
    return members


def _files(file: BinaryIO, size: int, *, whole: bool = True) -> Iterator[Entry]:
    """Yields the files in a tar, with headers of any kind.

    Args:
        size: Size of the tar in bytes.
        whole: Whether the tar must have an end mark, without which recordings may have been lost.

    Raises:
        BadRecording: The file is not a tar, or is damaged or truncated after the members yielded so far.
        OSError: The storage of the tar failed.
    """
    after = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            member = tar.next()  # which tarfile.open has read
            while member is not None:
                if member.offset < after or tar.offset <= member.offset:  # tarfile would loop forever
                    raise tarfile.ReadError("a member of negative length")
                after = tar.offset
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all members
                if member.isfile():
                    yield Entry(
                        0, member.name, member.offset, member.offset_data, member.size, after, member.issparse()
                    )
                while after <= size:
                    file.seek(after - 1)  # where tarfile begins to read, if it has to
                    entry = _plain_entry(file.read(1 + _HEADER.size)[1:], after)
                    if entry is None:
                        break
                    after = entry.end
                    yield entry
                if after > size:
                    raise tarfile.ReadError("the last member extends beyond the end")
                tar.offset = after
                member = tar.next()
            file.seek(after)
            rest = file.read(_PADDING_BYTES) if whole else b""
            if whole and len(rest) < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark: it is truncated or damaged")
            if any(rest):
                raise tarfile.ReadError("there are data after the end mark; if tars were concatenated, split them")
    except (OSError, MulanError):
        raise
    except Exception as error:  # tarfile trusts extended headers and raises many kinds of exceptions
        raise BadRecording("truncated shard", f"no tar members from byte {after} on: {error}") from error


def _refuse_compressed(start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise BadRecording(
                "compressed shard", f"it is compressed ({name}), but recordings are read by byte ranges; decompress it"
            )
