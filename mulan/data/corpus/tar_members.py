"""The members of WebDataset tars: their keys, byte ranges, and grouping into samples.

Keys are those of WebDataset: the name of a member, with its folders, up to the first dot after the last slash. Adjacent
members with the same key are a sample. Files that macOS adds (``._NAME``, ``__MACOSX/``), other hidden files and
WebDataset's ``__NAME__`` are ignored.
"""

import io
import re
import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mulan.data.errors import BadRecording


class Member(NamedTuple):
    """A file in a tar: its name including folders, and the offset and size of its content in bytes."""

    name: str
    start: int
    size: int


class Sample(NamedTuple):
    """Adjacent members with the same key, and the range of bytes that they occupy, including their headers."""

    key: str
    start: int
    end: int


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


def iter_samples(file: BinaryIO) -> Iterator[Sample]:
    """Yields the samples of a tar in order. The last sample of a truncated tar may be incomplete.

    Raises:
        BadRecording: The file is compressed or not a tar, or is damaged or truncated after the samples yielded so far.
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
    if damage and end <= size:  # otherwise parsing the last sample fails
        raise damage


def list_members(fragment: bytes) -> list[Member]:
    """Returns all files in a fragment of a tar, which may be truncated.

    Raises:
        BadRecording: There is no header of a member, or one cannot be read.
    """
    return _plain_members(fragment) or _any_members(fragment)


def _plain_members(fragment: bytes) -> list[Member]:
    """Returns the members if all have plain POSIX headers, as nearly all do; none otherwise.

    With ``tarfile``, parsing headers takes a noticeable fraction of the time of decoding ten seconds of FLAC.
    """
    members, offset = [], 0
    while offset < len(fragment):
        header = fragment[offset : offset + _HEADER.size]
        if len(header) < _HEADER.size:
            return []
        name, digits, checksum, kind, magic, folders = _HEADER.unpack(header)
        expected = sum(header) - sum(checksum) + 8 * ord(" ")  # by definition the checksum's bytes count as spaces
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
            raise BadRecording("sparse member", f"{member.name}; create the tar again without --sparse")
        members.append(Member(member.name, member.offset_data, member.size))
    return members


def _files(file: BinaryIO, size: int, *, whole: bool = True) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yields the files in a tar, with headers of any kind, each with the offset of the end of its content.

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
            for member in tar:
                if member.offset < after or tar.offset <= member.offset:  # tarfile would loop forever
                    raise tarfile.ReadError("a member of negative length")
                after = tar.offset
                if member.isfile():
                    yield member, after
                if after > size:
                    raise tarfile.ReadError(f"{member.name} extends beyond the end")
            file.seek(after)
            rest = file.read(_PADDING_BYTES) if whole else b""
            if whole and len(rest) < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark: it is truncated or damaged")
            if any(rest):
                raise tarfile.ReadError("there are data after the end mark; if tars were concatenated, split them")
    except (OSError, BadRecording):
        raise
    except Exception as error:  # tarfile trusts extended headers and raises many kinds of exceptions
        raise BadRecording("truncated shard", f"no tar members from byte {after} on: {error}") from error


def _refuse_compressed(start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise BadRecording(
                "compressed shard", f"it is compressed ({name}), but recordings are read by byte ranges; decompress it"
            )
