"""Recordings that must not be in a corpus because another one has them, such as those of a benchmark."""

import io
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.errors import CorpusError
from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.layout import RECORDINGS_NAME
from mulan.preparation.sources.official_files import read_official
from mulan.storage import filesystem

_PREFIX = "sha256:"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_REMEDY = "write one id or sha256:HEX per line, or name the folder of a prepared corpus"


@dataclass(frozen=True)
class Exclusions:
    """The ids and the audio of recordings that are excluded. They are held in memory."""

    ids: frozenset[str] = frozenset()
    """Ids. One without folders (``dQw4w9WgXcQ``) excludes every recording whose id has it as its last component
    (``youtube/dQw4w9WgXcQ``); one with folders excludes only the recording of exactly this id."""
    digests: frozenset[bytes] = field(default=frozenset(), repr=False)
    """SHA-256 of excluded clips (:attr:`mulan.preparation.clips.Clip.sha256`), in bytes."""
    uris: tuple[str, ...] = field(default=(), compare=False)
    """Absolute paths and URIs of the lists and corpora."""

    @classmethod
    def read(cls, uris: Sequence[str]) -> "Exclusions":
        """Reads lists of recordings and prepared corpora.

        A list is a text file in UTF-8 with an id or ``sha256:HEX`` in each line. White space around it, empty lines and
        lines that begin with ``#`` are ignored; it is no table. Of a folder with an index, all recordings are excluded,
        and also their audio if it has the table :data:`mulan.preparation.layout.RECORDINGS_NAME`.

        Args:
            uris: Paths or URIs of files and of folders.

        Raises:
            SourceError: A file or folder cannot be used; lists the faults of all of them with their lines.
            StorageError, StoragePermanentError: A file or folder cannot be read.
        """
        ids: set[str] = set()
        digests: set[bytes] = set()
        faults: list[str] = []
        count = 0
        for uri in map(filesystem.absolute, uris):
            try:
                if filesystem.exists(filesystem.join(uri, INDEX_NAME)):
                    more_ids, more_digests = _of_corpus(uri)
                else:
                    more_ids, more_digests = _of_list(uri)
            except SourceError as error:
                faults += error.faults
                count += error.count
                continue
            ids |= more_ids
            digests |= more_digests
        if faults:
            raise SourceError(f"exclude={','.join(uris)}", faults, count)
        return cls(frozenset(ids), frozenset(digests), tuple(map(filesystem.absolute, uris)))

    def excludes_id(self, recording_id: str) -> bool:
        """Returns whether a recording is excluded by its id, or by the last component of it."""
        return recording_id in self.ids or posixpath.basename(recording_id) in self.ids

    def excludes_audio(self, sha256: str) -> bool:
        """Returns whether a clip is excluded by its SHA-256 in hexadecimal."""
        return bytes.fromhex(sha256) in self.digests


def _of_list(uri: str) -> tuple[set[str], set[bytes]]:
    """Returns the ids and digests in a text file."""
    source = f"exclude={uri}"
    ids: set[str] = set()
    digests: set[bytes] = set()
    faults = []
    text = read_official(source, uri, remedy=_REMEDY)
    for number, line in _lines(text):
        if not line.startswith(_PREFIX):
            ids.add(line)
            if not line.isprintable():  # a table with tabs, or a binary file
                faults.append(at_line(uri, number, f"{line!r:.80} is no id: it has control characters; {_REMEDY}"))
        elif _DIGEST.fullmatch(line.removeprefix(_PREFIX)):
            digests.add(bytes.fromhex(line.removeprefix(_PREFIX)))
        else:
            faults.append(at_line(uri, number, f"{line!r:.80} is no SHA-256 of 64 hexadecimal digits; {_REMEDY}"))
    if not ids and not digests and not faults:
        faults.append(f"{uri} has comments only; {_REMEDY}")
    if faults:
        raise SourceError(source, faults)
    return ids, digests


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields the lines that say something, each with its number from 1. Only LF, CR and CRLF end a line."""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


def _of_corpus(uri: str) -> tuple[set[str], set[bytes]]:
    """Returns the ids of all recordings of a corpus, and the digests of those whose audio its table lists."""
    source = f"exclude={uri}"
    try:
        ids = set(Corpus.open(uri).table["recording_id"].to_pylist())
    except CorpusError as error:
        raise SourceError(source, [f"{uri}: {fault}" for fault in error.faults], error.count) from error
    file = filesystem.join(uri, RECORDINGS_NAME)
    try:
        content = filesystem.read_bytes(file)
    except FileNotFoundError:  # a corpus that was adopted, or written without a preparation
        return ids, set()
    try:
        table = pq.read_table(io.BytesIO(content), columns=["recording_id", "sha256"])
        table = table.cast(pa.schema([("recording_id", pa.string()), ("sha256", pa.string())]))
        rows = zip(table["recording_id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
        found = {sha256 for recording_id, sha256 in rows if sha256 and recording_id in ids}
        if not all(map(_DIGEST.fullmatch, found)):
            raise ValueError("a value of sha256 is not 64 hexadecimal digits")
        return ids, set(map(bytes.fromhex, found))
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        remedy = "restore it, or remove it to exclude ids only"
        raise SourceError(source, [f"{file} is damaged or has no column sha256: {error}; {remedy}"]) from error
