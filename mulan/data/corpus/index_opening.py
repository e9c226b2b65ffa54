"""The opening of an index: it is read once, checked and coded (:mod:`mulan.data.corpus.index_columns`).

A large one is then kept in the cache of this machine (:mod:`mulan.storage.machine_cache`), as an Arrow IPC file that is
mapped whenever it is opened again: its pages are shared by all processes, and read when they are needed. Of the file in
the corpus, only the digest is computed again or, in other storage, the version asked for.
"""

import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.data.corpus.index_checks import RowChecks, converted
from mulan.data.corpus.index_columns import OPENED_SCHEMA, IndexColumns, NewBuffer
from mulan.data.corpus.index_rows import DEFAULTS, INDEX_NAME
from mulan.data.errors import CorpusError
from mulan.storage import filesystem
from mulan.storage.listing import file_version
from mulan.storage.local import temporary_folder
from mulan.storage.machine_cache import CACHE_VARIABLE, cache_folder, locked

CACHED_FROM_ROWS = 1_000_000
"""Number of rows from which an index is cached; a smaller one is read in a second, and held in memory."""
_ROWS_AT_ONCE = 2**18
_LAYOUT = 1
"""Version of the cached files, incremented whenever the same index gives other bytes."""
_SHA256 = b"index_sha256"
_KEPT_DAYS = 30
"""Number of days after which a cached file is removed that was not opened."""
_CODED_NAMES = ("uri", "split", "tags", "fields")
"""Columns of which the dictionaries of the Parquet file are used as they are."""

T = TypeVar("T")


class OpenedIndex(NamedTuple):
    """The rows of an index."""

    table: pa.Table
    """Columns of :data:`mulan.data.corpus.index_columns.OPENED_SCHEMA`, each of one chunk. Those of
    :data:`mulan.data.corpus.index_rows.DEFAULTS` are missing if all rows have the default."""
    sha256: str
    """SHA-256 of the file in hexadecimal."""


def open_index(uri: str) -> OpenedIndex:
    """Opens ``URI/index.parquet``.

    Raises:
        CorpusError: There is no index, or it lacks columns or has invalid rows, which lists all faults; or it is large
            and cannot be cached.
        StorageError, StoragePermanentError: The storage cannot be read.
    """
    file_uri = filesystem.join(uri, INDEX_NAME)
    with ExitStack() as stack:
        try:
            version = "" if filesystem.is_local(file_uri) else f"{file_uri} {file_version(file_uri)}"
            if version and (opened := _mapped(_cached_file(version))):
                return opened
            path = filesystem.local_copy(file_uri, stack.enter_context(temporary_folder()) if version else "")
            file = stack.enter_context(open(path, "rb"))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise CorpusError(uri, [f"there is no {INDEX_NAME}; is this the folder of a prepared corpus?"]) from error
        except (OSError, ImportError, ValueError) as error:
            raise CorpusError(uri, [f"{INDEX_NAME} cannot be read: {error}"]) from error
        # the same open file, even if another one has taken its place
        return _opened(uri, _parquet_file(uri, file), sha256, _cached_file(version or sha256))


def _opened(uri: str, file: pq.ParquetFile, sha256: str, cached: Path | None) -> OpenedIndex:
    if file.metadata.num_rows < CACHED_FROM_ROWS:
        return OpenedIndex(pa.Table.from_batches([_read(uri, file, lambda _: io.BytesIO())]), sha256)
    try:
        if cached is None:
            raise OSError("this user has no home folder")
        cached.parent.mkdir(parents=True, exist_ok=True)
        with locked(cached.with_suffix(".lock")):
            opened = _mapped(cached)
            if opened is None:
                _remove_old(cached.parent)
                _cache(cached, sha256, lambda new_buffer: _read(uri, file, new_buffer))
                opened = _mapped(cached)
    except OSError as error:
        remedy = f"set {CACHE_VARIABLE} to a folder with at least {_needed_gib(file):.0f} GiB of free space"
        rows = f"{INDEX_NAME} has {file.metadata.num_rows} rows"
        raise CorpusError(uri, [f"{rows}, and cannot be cached: {error.strerror or error}; {remedy}"]) from error
    assert opened is not None, "it was written above"
    return opened


def _parquet_file(uri: str, content: BinaryIO) -> pq.ParquetFile:
    try:
        leaves = pq.ParquetFile(content).schema
        paths = [leaves.column(number).path for number in range(len(leaves))]
        coded = [leaf for leaf in paths if leaf.partition(".")[0] in _CODED_NAMES]
        # with buffers of its own, it would keep all bytes that it has read until the end
        file = pq.ParquetFile(content, read_dictionary=coded, pre_buffer=False)
        missing = [name for name in OPENED_SCHEMA.names if name not in {*file.schema_arrow.names, *DEFAULTS}]
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise CorpusError(uri, [f"{INDEX_NAME} is not a Parquet file, or is damaged: {error}"]) from error
    if missing:
        raise CorpusError(uri, [f"{INDEX_NAME} lacks columns: {', '.join(missing)}"])
    return file


def _read(uri: str, file: pq.ParquetFile, new_buffer: NewBuffer) -> pa.RecordBatch:
    """Returns all rows of a file, once they are checked."""
    names = [name for name in OPENED_SCHEMA.names if name in file.schema_arrow.names]
    checks, columns = RowChecks(file.metadata.num_rows), IndexColumns(names, new_buffer)
    for batch in _ahead(_batches(uri, file, names)):
        try:
            rows = converted(batch, names)
        except pa.ArrowException as error:
            raise CorpusError(uri, [f"{INDEX_NAME} has a column of the wrong type: {error}"]) from error
        if checks.add(rows):
            columns.append(rows)
    if checks.with_nulls:
        raise CorpusError(uri, [f"{INDEX_NAME} has nulls in {', '.join(checks.with_nulls)}"])
    whole = columns.finish()
    if faults := checks.faults(whole):
        raise CorpusError(uri, faults)
    return whole


def _batches(uri: str, file: pq.ParquetFile, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
            batch.validate(full=True)
            yield batch
    except Exception as error:  # see above
        raise CorpusError(uri, [f"{INDEX_NAME} is not a Parquet file, or is damaged: {error}"]) from error


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """Yields items, the next of which is made by another thread in the meantime."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, iterator, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, iterator, end)
            yield item  # type: ignore[misc]


def _cached_file(identity: str) -> Path | None:
    """Returns where the index of this identity is cached; None if there is no place for a cache."""
    name = hashlib.sha256(f"{_LAYOUT} {identity}".encode()).hexdigest()[:32]
    try:
        return cache_folder("indices") / f"{name}.arrow"
    except RuntimeError:  # this user has no home folder
        return None


def _mapped(path: Path | None) -> OpenedIndex | None:
    """Maps a cached index; None if there is none, or it is damaged."""
    try:
        if path is None or not path.is_file():
            return None
        with suppress(OSError):
            os.utime(path)  # says that it is in use
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return OpenedIndex(table.replace_schema_metadata(None), table.schema.metadata[_SHA256].decode())
    except (OSError, pa.ArrowException, KeyError, TypeError):
        return None


def _cache(cached: Path, sha256: str, read: Callable[[NewBuffer], pa.RecordBatch]) -> None:
    """Writes an index to the cache, whose lock is held; its columns are built in temporary files beside it."""
    for stale in cached.parent.glob(f"{cached.stem}.partial-*"):  # left by a killed process
        shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{cached.stem}.partial-", dir=cached.parent))
    files: list[BinaryIO] = []

    def new_buffer(name: str) -> BinaryIO:
        files.append((folder / name).open("w+b"))
        return files[-1]

    try:
        batch = read(new_buffer).replace_schema_metadata({_SHA256: sha256})
        complete = folder / "index.arrow"
        # by Arrow's file, because what is written to Python's is copied first
        with pa.OSFile(str(complete), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        with complete.open("r+b") as written:
            os.fsync(written.fileno())  # after a loss of power, a renamed file may lack pages
        complete.rename(cached)
    finally:
        for buffer in files:
            buffer.close()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    """Removes what nobody has opened for long."""
    oldest = time.time() - _KEPT_DAYS * 86_400
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _needed_gib(file: pq.ParquetFile) -> float:
    """Returns about how much space the cached file and its parts need while they are written."""
    return 1 + file.metadata.num_rows * 200 / 2**30
