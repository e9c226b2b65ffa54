"""The files of a preparation in the folder of its corpus, so that another call continues where one has ended.

| file | content |
|---|---|
| ``preparation/settings.json`` | the sources and settings |
| ``preparation/chunks/`` | the recordings of each chunk that is still to be written |
| ``preparation/results/`` | what became of the recordings of each chunk that is written |
| ``preparation/recordings.parquet`` | the same of all recordings, also of those that were left out |
| ``preparation/report.json`` | numbers of recordings and texts by source, filter and reason |
| ``shards/`` | a shard for each chunk |
| ``index.parquet`` | the index, written last, and removed before shards that it names are replaced |
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.config.errors import MulanError
from mulan.config.parsing import parse_json
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.preparation.chunks import Chunk, from_json, to_json
from mulan.preparation.found import FoundRecording
from mulan.preparation.layout import RECORDINGS_NAME, REPORT_NAME, SETTINGS_NAME
from mulan.preparation.shards import RESULT_SCHEMA
from mulan.storage import filesystem
from mulan.storage.parquet import write_parquet
from mulan.storage.staging import STAGING_PREFIX

_WRITTEN_HERE = re.compile(r"shards/[0-9a-f]{32}\.tar")
"""Names of shards that may be removed; any other file may be the only copy of its recordings."""
_RESULTS_AT_ONCE = 256
_READERS = 16
"""Number of threads that read results: a request to an object store takes longer than the reading."""


class PreparationRefused(MulanError, ValueError):
    """Raised when a folder contains another corpus, which would be lost, or when nothing usable is left."""


class WorkspaceChanged(MulanError):
    """Raised when a file of a preparation has vanished or is damaged; the same command makes it again."""

    exit_code = 1


@dataclass(frozen=True)
class Workspace:
    """The folder of a corpus that is being prepared."""

    uri: str
    """Absolute path or URI of the folder."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """Checks that the folder contains no corpus, or one from the same sources and settings.

        Args:
            settings: The sources and settings, as JSON has them.

        Raises:
            PreparationRefused: It contains another corpus; names what differs.
        """
        if not filesystem.exists(self._in(INDEX_NAME)):
            return
        try:
            before = parse_json(filesystem.read_bytes(self._in(SETTINGS_NAME)))
            if not isinstance(before, dict):
                raise ValueError("it is no JSON object")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PreparationRefused(
                f"{self.uri} contains a corpus that jobs.prepare has not made; name another folder by --out"
            ) from error
        except ValueError as error:
            raise PreparationRefused(
                f"{self._in(SETTINGS_NAME)} is damaged: {error}; name another folder by --out, or give --replace"
            ) from error
        differing = _differences(before, settings)
        if differing:
            raise PreparationRefused(
                f"{self.uri} contains a corpus from other sources or settings ({'; '.join(differing)}); name another "
                "folder by --out, or give --replace"
            )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Records the sources and settings."""
        content = json.dumps(settings, indent=2, ensure_ascii=False).encode() + b"\n"
        filesystem.write_atomically(self._in(SETTINGS_NAME), content)

    def write_chunk(self, chunk: Chunk, recordings: Sequence[FoundRecording]) -> None:
        """Writes the recordings of a chunk, for the process that will make its shard."""
        filesystem.write_atomically(self._in(f"preparation/chunks/{chunk.file_name}.json"), to_json(recordings))

    def read_chunk(self, chunk: Chunk) -> list[FoundRecording]:
        """Returns the recordings of a chunk.

        Raises:
            WorkspaceChanged: Another command has finished the corpus, and removed the descriptions of its chunks.
        """
        uri = self._in(f"preparation/chunks/{chunk.file_name}.json")
        try:
            return from_json(filesystem.read_bytes(uri))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _vanished(uri) from error

    def remove_chunks(self) -> None:
        """Removes the descriptions of all chunks, once their shards are written."""
        filesystem.remove_folder(self._in("preparation/chunks"))

    def write_result(self, chunk: Chunk, rows: pa.Table) -> None:
        """Writes what became of the recordings of a chunk, after its shard: a chunk with a result is done."""
        filesystem.write_atomically(self._result(chunk), _parquet(rows))

    def finished(self) -> set[str]:
        """Returns the file names of the chunks that are done, whose shards exist or were not needed."""
        return {name.removesuffix(".parquet") for name in filesystem.names_in(self._in("preparation/results"))}

    def is_complete(self, chunk: Chunk, finished: Set[str], shards: Set[str]) -> bool:
        """Returns whether a chunk is done and its shard exists, unless all its recordings were left out.

        Args:
            chunk: A chunk.
            finished: Result of :meth:`finished`.
            shards: Result of :meth:`shards`.
        """
        if chunk.file_name not in finished:
            return False
        if chunk.shard_name in shards:
            return True
        try:
            rows = _rows_of(filesystem.read_bytes(self._result(chunk)))
        except (FileNotFoundError, ValueError):
            return False
        return all(rows["reason"].to_pylist())

    def shards(self) -> set[str]:
        """Returns the names of the shards that exist, relative to the folder of the corpus."""
        return {f"shards/{name}" for name in filesystem.names_in(self._in("shards"))}

    def remove_index_of(self, chunks: Iterable[Chunk]) -> None:
        """Removes the index if some of these chunks have shards, before they are written again with other audio.

        An index locates recordings by their offsets, and would be wrong if the call ended before it wrote a new one.
        """
        if self.shards().intersection(chunk.shard_name for chunk in chunks):
            filesystem.remove(self._in(INDEX_NAME))

    def read_results(self, chunks: Iterable[Chunk]) -> Iterator[pa.Table]:
        """Yields what became of the recordings of each chunk, in order.

        Raises:
            WorkspaceChanged: A result has vanished, or is damaged: then it is removed.
        """
        uris = [self._result(chunk) for chunk in chunks]
        with ThreadPoolExecutor(_READERS) as readers:
            for first in range(0, len(uris), _RESULTS_AT_ONCE):
                yield from readers.map(_read_result, uris[first : first + _RESULTS_AT_ONCE])

    def remove_results(self, chunks: Iterable[Chunk]) -> None:
        """Removes the results of chunks, so that another call makes them again."""
        for chunk in chunks:
            filesystem.remove(self._result(chunk))

    def write_recordings(self, rows: Iterable[pa.Table]) -> None:
        """Writes the table of all recordings."""
        write_parquet(rows, RESULT_SCHEMA, self._in(RECORDINGS_NAME))

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Writes the report."""
        content = json.dumps(report, indent=2, ensure_ascii=False).encode() + b"\n"
        filesystem.write_atomically(self._in(REPORT_NAME), content)

    def remove_leftovers(self, chunks: Sequence[Chunk], adopted: Set[str] = frozenset()) -> None:
        """Removes the results and shards of other chunks, which former sources or settings had, and unfinished shards.

        Files that have other names than these shards are kept, because they are tars of somebody else.

        Args:
            chunks: All chunks of the corpus.
            adopted: Absolute paths or URIs of tars that the index locates where they are; they are kept too.
        """
        for name in filesystem.names_in(self.uri):
            if name.startswith(STAGING_PREFIX):  # of processes that were killed
                filesystem.remove_folder(self._in(name))
        for name in self.finished() - {chunk.file_name for chunk in chunks}:
            filesystem.remove(self._in(f"preparation/results/{name}.parquet"))
        for shard in self.shards() - {chunk.shard_name for chunk in chunks}:
            if _WRITTEN_HERE.fullmatch(shard) and self._in(shard) not in adopted:
                filesystem.remove(self._in(shard))

    def _result(self, chunk: Chunk) -> str:
        return self._in(f"preparation/results/{chunk.file_name}.parquet")

    def _in(self, name: str) -> str:
        return filesystem.join(self.uri, name)


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def _rows_of(content: bytes) -> pa.Table:
    """Returns the rows of a result; raises ValueError if it is damaged."""
    try:
        return pq.read_table(io.BytesIO(content)).cast(RESULT_SCHEMA)
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise ValueError(str(error)) from error


def _read_result(uri: str) -> pa.Table:
    try:
        return _rows_of(filesystem.read_bytes(uri))
    except FileNotFoundError as error:
        raise _vanished(uri) from error
    except ValueError as error:
        filesystem.remove(uri)
        what = f"{uri} was damaged and is removed: {error}"
        raise WorkspaceChanged(f"{what}; repeat the command, which makes it again") from error


def _vanished(uri: str) -> WorkspaceChanged:
    return WorkspaceChanged(
        f"{uri} has vanished: another command may have prepared the same folder; repeat the command once it has ended"
    )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Returns the dotted names of the fields whose values differ, with both values."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{path}{name}.")
        elif old != new:
            found.append(f"{path}{name} was {old!r:.100}, is {new!r:.100}")
    return found
