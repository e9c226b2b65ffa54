"""Reading of the encoded audio of recordings where their sources have found it."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

from mulan.data.errors import BadRecording
from mulan.preparation.columnar import ColumnarReader, DamagedTable
from mulan.preparation.found import AudioLocation
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError, affects_all_files

MISSING_FILE, UNREADABLE_FILE = "missing file", "unreadable file"
"""Why audio cannot be read although its file may be as it was: it has been moved, or its disk or permissions fail."""

T = TypeVar("T")

_held = threading.local()
"""The table that each thread has read last, with the batch of its current row: rows are mostly read in order."""


def read_audio(location: AudioLocation) -> bytes | str:
    """Returns the encoded audio of a recording: the path of a whole local file, otherwise the content.

    Raises:
        BadRecording: There is no such file or row, it cannot be read although others can, or its table is damaged.
        StorageError, StoragePermanentError: The storage cannot be read at all.
    """
    if location.row is not None:
        return _named_faults(location.uri, lambda: _read_row(location, location.row or 0))
    if location.offset or location.length is not None:
        return _named_faults(location.uri, lambda: _read_range(location))
    if filesystem.is_local(location.uri):
        path = filesystem.url_to_fs(location.uri)[1]
        _named_faults(location.uri, lambda: _check_file(path))
        return path
    return _named_faults(location.uri, lambda: filesystem.read_bytes(location.uri))


def _named_faults(uri: str, read: Callable[[], T]) -> T:
    """Calls a function that reads a file, and turns errors that concern only this file into a BadRecording."""
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise BadRecording(MISSING_FILE, f"there is no file {uri}") from error
    except DamagedTable as error:
        raise BadRecording("damaged table", f"{uri}: {error}") from error
    except StoragePermanentError as error:
        if not isinstance(error.__cause__, PermissionError) or affects_all_files(error.__cause__):
            raise
        raise BadRecording(UNREADABLE_FILE, str(error)) from error
    except OSError as error:  # of a local file, for example without permission
        raise BadRecording(UNREADABLE_FILE, f"{uri}: {error.strerror or error}") from error


def _check_file(path: str) -> None:
    """Raises an OSError if a path is not a file that can be read. Does not open it: opening a pipe would wait."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise IsADirectoryError(path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _read_range(location: AudioLocation) -> bytes:
    length = location.length
    if length is None:
        length = max(filesystem.size(location.uri) - location.offset, 0)
    (result,) = filesystem.read_ranges([location.uri], [location.offset], [length])
    if isinstance(result, Exception):
        raise result
    if len(result) < length or not length:
        end = location.offset + length
        raise BadRecording("truncated file", f"{location.uri} ends before byte {end}, where a recording ends")
    return result


def _read_row(location: AudioLocation, row: int) -> bytes:
    reader = _reader(location)
    found = reader.batch_at(row)
    if found is None:
        raise BadRecording("missing row", f"{location.uri} has no row {row}, counted from 0")
    first, (column,) = found
    value = column[row - first].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise BadRecording("no audio", f"{location.uri}, row {row}: column {location.column} has no bytes of audio")
    return content


def _reader(location: AudioLocation) -> ColumnarReader:
    wanted: tuple[str, str, str] = (location.uri, location.version, location.column)
    if getattr(_held, "wanted", None) == wanted:
        held: ColumnarReader = _held.reader
        return held
    if hasattr(_held, "wanted"):
        _held.reader.close()
        del _held.reader, _held.wanted
    _held.reader, _held.wanted = ColumnarReader(location.uri, [(location.column,)]), wanted
    reader: ColumnarReader = _held.reader
    return reader
