"""Shards: plain WebDataset tars. A recording is two adjacent members, ``ID.flac`` (or another codec) and ``ID.json``.

Any WebDataset reader reads them; the index adds the byte range of every recording, so that one recording is one ranged
read. Tars made elsewhere are adopted by indexing alone (:func:`index_shards`).
"""

import io
import json
import struct
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from mulan.config.sections import SOURCES
from mulan.data import audio, storage
from mulan.data.errors import BadRecording, CorpusError
from mulan.data.index import INDEX_NAME, SCHEMA, SPLITS, Corpus, write_index
from mulan.data.text import is_blank, is_unicode


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording to be written."""

    recording_id: str
    """Unique in the corpus; no dot or slash (it is the member's name in the tar)."""
    audio: bytes
    """One encoded audio file, best mono at the model's rate: FLAC is small, 16-bit WAV takes the least CPU to read."""
    extension: str
    """Of the audio file, without the dot: ``flac``."""
    duration_s: float
    split: str
    """``train``, ``validation`` or ``test``."""
    texts: Mapping[str, Sequence[str]]
    """Texts by source: ``short_form``, ``long_form``, ``playlist``, ``audioset``; a source may be missing."""
    tags: Sequence[str]
    """``category:text``, as in ``genre:jazz``; the text is the zero-shot query."""
    provenance: str
    licence: str


@dataclass(frozen=True)
class Record:
    """A recording as read back."""

    recording_id: str
    audio: bytes
    extension: str
    metadata: Mapping[str, Any]

    def texts(self, source: str) -> list[str]:
        """The texts of a source, less those in which there is nothing to read.

        Raises:
            BadRecording: no text is left, one is not Unicode, or the source is not a list of strings.
        """
        texts = self.metadata.get("texts", {})
        if not isinstance(texts, Mapping):
            raise BadRecording("text of the wrong type", f"texts is {texts!r:.80}, not lists by source")
        found = texts.get(source, [])
        if not (isinstance(found, list) and all(isinstance(text, str) for text in found)):
            raise BadRecording("text of the wrong type", f"texts.{source} is {found!r:.80}, not a list of strings")
        if not all(map(is_unicode, found)):
            raise BadRecording("text not Unicode", f"texts.{source} has half of a surrogate pair: {found!r:.80}")
        readable = [text for text in found if not is_blank(text)]
        if not readable:
            raise BadRecording("empty text", f"there is nothing to read in texts.{source}: {found!r:.80}")
        return readable


def write_corpus(recordings: Iterable[Recording], uri: str, *, recordings_per_shard: int = 256) -> None:
    """Writes ``URI/shards/NNNNN.tar`` and, last, ``URI/index.parquet``; recordings are taken one at a time.

    Raises:
        CorpusError: a recording with an unusable id, split or source, or an id given twice. Shards already written
            stay, but without an index they are no corpus.
    """
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    storage.remove(storage.join(uri, INDEX_NAME))  # an older index must not stand over shards that are half new
    for number, part in enumerate(_parts(recordings, recordings_per_shard)):
        name = f"shards/{number:05d}.tar"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for recording in part:
                _check(recording, seen, uri)
                offset = tar.offset
                metadata = {k: v for k, v in asdict(recording).items() if k not in ("audio", "extension")}
                _add(tar, f"{recording.recording_id}.{recording.extension}", recording.audio)
                _add(tar, f"{recording.recording_id}.json", json.dumps(metadata, ensure_ascii=False).encode())
                rows.append(_index_row(recording.recording_id, name, offset, tar.offset - offset, metadata))
        storage.write_atomically(storage.join(uri, name), buffer.getvalue())
    write_index(pa.Table.from_pylist(rows, SCHEMA), uri)


def index_shards(shard_uris: Sequence[str], corpus_uri: str) -> None:
    """Adopts existing WebDataset tars: writes ``CORPUS_URI/index.parquet`` over them and leaves them where they are.

    Each recording needs adjacent members ``KEY.EXT`` (audio) and ``KEY.json`` with ``texts`` by source; ``split``
    (default ``train``), ``tags`` (default none) and ``duration_s`` (default: read from the audio) may be there too.

    Raises:
        CorpusError: naming the shards that cannot be read and the recordings that lack a member or a text.
    """
    rows, faults = [], []
    for shard_uri in shard_uris:
        try:
            opened = storage.filesystem(shard_uri)[0].open(shard_uri, "rb")
            with opened as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for key, start, end in _member_groups(tar):
                    file.seek(start)
                    try:
                        record = parse_record(file.read(end - start))
                        metadata = dict(record.metadata)
                        if "duration_s" not in metadata:
                            metadata["duration_s"] = audio.duration_s(record.audio)
                        rows.append(_index_row(key, shard_uri, start, end - start, metadata))
                    except BadRecording as error:
                        faults.append(f"{shard_uri}: {key}: {error}")
        except (OSError, tarfile.TarError) as error:
            faults.append(f"{shard_uri} cannot be read: {error}")
    if faults:
        raise CorpusError(corpus_uri, faults)
    write_index(pa.Table.from_pylist(rows, SCHEMA), corpus_uri)


def read_record(corpus: Corpus, row: int) -> Record:
    """One recording of a corpus by its row number.

    Raises:
        BadRecording: the bytes are not there or are not a recording.
    """
    return parse_read(storage.read_ranges(*corpus.byte_ranges([row]))[0])


def parse_read(read: bytes | Exception) -> Record:
    """The recording in one result of :func:`mulan.data.storage.read_ranges`."""
    if isinstance(read, FileNotFoundError):
        raise BadRecording("missing shard", str(read)) from read
    if isinstance(read, Exception):
        raise BadRecording("unreadable shard", f"{type(read).__name__}: {read}") from read
    return parse_record(read)


def parse_record(fragment: bytes) -> Record:
    """The recording whose tar members (headers included) these bytes are.

    Raises:
        BadRecording: cut off, not a tar, of several recordings, or without an audio member and a JSON object.
    """
    if not fragment:
        raise BadRecording("truncated shard", "it ends before the indexed bytes")
    found: dict[str, bytes] = {}
    key = ""
    try:
        members = _plain_members(fragment) or _any_members(fragment)
    except tarfile.TarError as error:
        raise BadRecording("truncated shard", f"no tar members at the indexed bytes: {error}") from error
    for name, start, size in members:
        content = fragment[start : start + size]  # one copy; tarfile makes more
        if len(content) != size:
            raise BadRecording("truncated shard", f"{name} has {len(content)} of {size} bytes")
        before, (key, _, extension) = key, name.rpartition("/")[2].partition(".")
        if before not in ("", key):
            raise BadRecording("not one recording", f"the indexed bytes hold {before} and {key}")
        found[extension] = content
    try:
        metadata = json.loads(found.pop("json"))
    except KeyError as error:
        raise BadRecording("no metadata", f"{key} has no .json member") from error
    except (ValueError, RecursionError) as error:  # the latter of lists in lists, without end
        raise BadRecording("unreadable metadata", f"{key}.json: {error}") from error
    if not isinstance(metadata, dict) or len(found) != 1:
        raise BadRecording("no metadata", f"{key} needs one audio member and a JSON object")
    extension, content = found.popitem()
    return Record(key, content, extension, metadata)


_Member = tuple[str, int, int]
"""Name (less the folders in it, perhaps), first byte and length of a file in a tar."""

_HEADER = struct.Struct("100s 24x 12s 12x 8s 1s 100x 5s 250x")
"""Name, size, checksum, type and magic of a POSIX tar header, a block of 512 bytes."""

_OCTAL = frozenset(b"01234567")


def _plain_members(fragment: bytes) -> list[_Member]:
    """The members if all of them have nothing but a plain POSIX header, as nearly all do; none otherwise.

    ``tarfile`` takes so long over a header that it is felt beside the decoding of ten seconds of FLAC.
    """
    members, offset = [], 0
    while offset < len(fragment):
        header = fragment[offset : offset + _HEADER.size]
        if len(header) < _HEADER.size:
            return []
        name, digits, checksum, kind, magic = _HEADER.unpack(header)
        expected = sum(header) - sum(checksum) + 8 * ord(" ")  # by definition its own bytes count as spaces
        genuine = magic == b"ustar" and checksum == b"%06o\0 " % expected
        if not (genuine and kind == tarfile.REGTYPE and _OCTAL.issuperset(digits[:11])):  # larger sizes are not octal
            return []
        size = int(digits[:11], 8)
        members.append((name.partition(b"\0")[0].decode(errors="surrogateescape"), offset + _HEADER.size, size))
        offset += _HEADER.size + _padded(size)
    return members


def _any_members(fragment: bytes) -> list[_Member]:
    with tarfile.open(fileobj=io.BytesIO(fragment), mode="r:") as tar:
        return [(member.name, member.offset_data, member.size) for member in tar if member.isfile()]


def _padded(size: int) -> int:
    """Bytes that a member's content takes up in a tar."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _parts(recordings: Iterable[Recording], size: int) -> Iterator[list[Recording]]:
    part: list[Recording] = []
    for recording in recordings:
        part.append(recording)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _check(recording: Recording, seen: set[str], uri: str) -> None:
    faults = []
    if not recording.recording_id or set(recording.recording_id) & set("./"):
        faults.append(f"recording id {recording.recording_id!r} is empty or has a dot or slash")
    if recording.recording_id in seen:
        faults.append(f"recording id {recording.recording_id!r} is given twice")
    if recording.split not in SPLITS:
        faults.append(f"{recording.recording_id}: split {recording.split!r} is not one of {', '.join(SPLITS)}")
    unknown = sorted(set(recording.texts) - set(SOURCES))
    if unknown:
        faults.append(f"{recording.recording_id}: text sources {unknown} are not among {', '.join(SOURCES)}")
    halved = (text for text in chain(recording.tags, *recording.texts.values()) if not is_unicode(text))
    faults += [f"{recording.recording_id}: {text!r:.80} has half of a surrogate pair" for text in halved]
    if faults:
        raise CorpusError(uri, faults)
    seen.add(recording.recording_id)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _index_row(key: str, uri: str, offset: int, length: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    texts, duration_s = metadata.get("texts"), metadata["duration_s"]
    split, tags = metadata.get("split", "train"), metadata.get("tags", [])
    typed = {
        "texts by source": isinstance(texts, Mapping),
        "duration_s (a number)": isinstance(duration_s, int | float),
        "split (a string)": isinstance(split, str),
        "tags (a list of strings)": isinstance(tags, list | tuple)
        and all(isinstance(tag, str) and is_unicode(tag) for tag in tags),
    }
    if not all(typed.values()):
        wrong = ", ".join(name for name, right in typed.items() if not right)
        raise BadRecording("unusable metadata", f"{key}.json has no {wrong}")
    assert isinstance(texts, Mapping)
    return {
        "recording_id": key,
        "uri": uri,
        "offset": offset,
        "length": length,
        "duration_s": float(duration_s),
        "split": split,
        "sources": [source for source in SOURCES if texts.get(source)],
        "tags": list(tags),
    }


def _member_groups(tar: tarfile.TarFile) -> Iterator[tuple[str, int, int]]:
    """Key, first and one-past-last byte of each run of adjacent members with one key."""
    key, start, end = "", 0, 0
    for member in tar:
        if not member.isfile():
            continue
        name = member.name.rpartition("/")[2].partition(".")[0]
        if name != key:
            if key:
                yield key, start, end
            key, start = name, member.offset
        end = member.offset_data + _padded(member.size)
    if key:
        yield key, start, end
