"""Scanning of a tar: its recordings and their texts, from the headers and the small members alone."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from tarfile import BLOCKSIZE
from typing import BinaryIO, NamedTuple, cast

from mulan.data.audio import windows
from mulan.data.audio.stated_duration import stated_duration_s
from mulan.data.corpus.records import is_audio, is_text
from mulan.data.corpus.samples import Sample, samples
from mulan.data.corpus.tar_members import Entry, iter_entries, split_name
from mulan.data.errors import BadRecording
from mulan.storage.ranged_file import RangedFile

_MAX_TEXT_BYTES = 2**24
"""Maximum size of a member with texts; larger ones are something else."""
_START_BYTES = 128
"""Number of bytes at the start of an audio file that are kept if they have been read ahead."""


class ScannedSample(NamedTuple):
    """A recording in a tar, without its audio."""

    sample: Sample
    """Its files."""
    texts: Mapping[str, bytes]
    """Contents of the files with texts and tags, by extension."""
    audio_start: bytes
    """First bytes of its audio, as far as they were read ahead; empty if it has none."""
    digest: bytes
    """Digest of its headers, which have the time when each file was last modified, and of its texts."""


def scan(file: RangedFile) -> Iterator[ScannedSample]:
    """Yields the recordings of a tar, in the order of their first files.

    It reads the headers and the files with texts, and holds all of them, since the files of a recording need not be
    adjacent.

    Raises:
        BadRecording: The file is compressed or not a tar, or is damaged or truncated after the recordings yielded.
        StorageError, StoragePermanentError: The storage failed.
    """
    contents: dict[int, bytes] = {}
    digests: dict[int, bytes] = {}
    damage: list[BadRecording] = []
    for sample in samples(_entries(file, contents, digests, damage)):
        texts = {extension: contents.pop(entry.number, b"") for extension, entry in sample.texts()}
        starts = [contents.pop(entry.number) for extension, entry in sample.members if is_audio(extension)]
        digest = sha256(b"".join(digests.pop(entry.number) for _, entry in sample.members)).digest()
        yield ScannedSample(sample, texts, starts[0] if starts else b"", digest)
    if damage:
        raise damage[0]


def _entries(
    file: RangedFile, contents: dict[int, bytes], digests: dict[int, bytes], damage: list[BadRecording]
) -> Iterator[Entry]:
    """Yields the files of a tar, and reads texts and the start of audio, by the numbers of the files, and digests.

    Damage is appended, unless it is that the last file is truncated, which is reported for its recording.
    """
    entry = None
    try:
        for entry in iter_entries(cast(BinaryIO, file)):
            split = split_name(entry.name)
            assert split is not None
            header = file.buffered(entry.start - BLOCKSIZE, BLOCKSIZE)  # it has just been read
            text = b""
            if is_text(split[1]) and entry.size <= _MAX_TEXT_BYTES:
                file.seek(entry.start)
                text = contents[entry.number] = file.read(entry.size)
            elif is_audio(split[1]):
                contents[entry.number] = file.buffered(entry.start, min(entry.size, _START_BYTES))
            digests[entry.number] = sha256(header + text).digest()
            yield entry
    except BadRecording as error:
        if entry is None or not _is_truncated(entry, file):
            damage.append(error)


def checked_audio(file: RangedFile, scanned: ScannedSample) -> Entry:
    """Returns the audio file of a recording whose files can all be read by ranges of bytes.

    Raises:
        BadRecording: There is no audio file or several, it is empty, or a file is truncated, sparse or too large.
    """
    for extension, entry in scanned.sample.members:
        if _is_truncated(entry, file):
            available = max(0, file.size - entry.start)
            raise BadRecording("truncated shard", f"{entry.name} has {available} of {entry.size} bytes")
        if entry.sparse:
            raise BadRecording("sparse member", f"{entry.name}; create the tar again without --sparse")
        if is_text(extension) and entry.size > _MAX_TEXT_BYTES:
            raise BadRecording("unreadable metadata", f"{entry.name} has {entry.size} bytes")
    audio = scanned.sample.audio()
    if not audio.size:
        raise BadRecording("undecodable audio", "the audio file is empty")
    return audio


def audio_duration_s(file: RangedFile, audio: Entry, audio_start: bytes) -> float:
    """Returns the duration of a recording in seconds, as the header of its audio file states it.

    It is not verified. Only a file whose header does not state it, or of a rare format, is decoded.

    Args:
        file: The tar.
        audio: The audio file, which :func:`checked_audio` has returned.
        audio_start: Its first bytes, as far as they are known.

    Raises:
        BadRecording: The header does not state a duration, and the file cannot be decoded.
        StorageError, StoragePermanentError: The storage failed.
    """

    def read_at(start: int, size: int) -> bytes:
        return file.read_at(audio.start + start, min(size, audio.size - start))

    seconds = stated_duration_s(read_at, audio.size, audio_start)
    return windows.duration_s(read_at(0, audio.size)) if seconds is None else seconds


def _is_truncated(entry: Entry, file: RangedFile) -> bool:
    return entry.start + entry.size > file.size
