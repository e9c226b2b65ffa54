"""Access to files by URI: local paths, ``s3://``, ``memory://`` and every other scheme that fsspec supports.

Transient errors are retried (:mod:`mulan.storage.retries`); permanent ones are reported with a remedy
(:mod:`mulan.storage.errors`). Listings are not cached. S3 takes its credentials, region and endpoint from the usual
environment variables (``AWS_ENDPOINT_URL`` and so on).
"""

import os
import posixpath
import socket
import textwrap
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, cast

import fsspec
import fsspec.config
from fsspec.implementations.local import LocalFileSystem

from mulan.config.paths import LOCAL_SCHEMES, scheme_of
from mulan.config.paths import absolute as absolute
from mulan.storage import local
from mulan.storage.errors import (
    SUPPORTED_URIS,
    StoragePermanentError,
    UnsupportedStorage,
    affects_all_files,
    is_transient,
    location_fault,
    permanent_error,
)
from mulan.storage.joined_ranges import read_joined
from mulan.storage.retries import with_retries
from mulan.storage.trees import remove_tree

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 15.0
"""Time in seconds after which a connection to S3 that neither sends nor receives a byte is closed."""
S3_ATTEMPTS = 3
"""Number of immediate attempts at one S3 request, so that one failed part does not restart a large upload."""

P = ParamSpec("P")
T = TypeVar("T")


def url_to_fs(uri: str | os.PathLike[str]) -> tuple[fsspec.AbstractFileSystem, str]:
    """Returns the file system of a URI and the path within it. Local paths need not be absolute.

    Paths are literal as long as only the methods for one file or folder are used: ``info``, ``ls``, ``find``, ``open``,
    ``cat_file``, ``pipe_file``, ``get_file``, ``put_file``, ``cp_file`` and ``rm_file``. fsspec's other methods
    (``rm``, ``get``, ``copy``, ``glob``) expand ``[``, ``?`` and ``*`` as patterns.

    Raises:
        UnsupportedStorage: The URI is invalid, or a package that its scheme needs is not installed.
    """
    where = absolute(uri)
    fault = location_fault(where)
    if fault:
        raise UnsupportedStorage(f"{printable(where) or 'storage'}: {fault}")
    scheme = scheme_of(where)
    if not scheme or scheme in LOCAL_SCHEMES:
        return LocalFileSystem(), where.removeprefix(f"{scheme}://")
    is_s3 = scheme in ("s3", "s3a")
    try:
        cls = fsspec.get_filesystem_class(scheme)
        options = cls._get_kwargs_from_urls(where) | (_s3_options() if is_s3 else {})
        fs, path = cls(use_listings_cache=False, **options), cls._strip_protocol(where)
    except ImportError as error:
        raise UnsupportedStorage(f"{where}: {scheme}:// needs a package that is not installed: {error}") from error
    except Exception as error:  # the package of a scheme may raise anything
        raise UnsupportedStorage(f"{where}: cannot be used: {_reason(error)}; {SUPPORTED_URIS}") from error
    if is_s3:
        fs.retries = 1  # botocore's attempts and our retries are enough
    return fs, path


def printable(path: str) -> str:
    """Returns a path in which characters that cannot be printed, such as newlines and lone surrogates, are escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path)


def _reason(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")


def _s3_options() -> dict[str, Any]:
    defaults = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": SILENCE_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": S3_ATTEMPTS},
        "connector_args": {"socket_factory": _socket},
    }
    return {"config_kwargs": defaults | fsspec.config.conf.get("s3", {}).get("config_kwargs", {})}


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Returns a socket that also times out when the peer accepts no more bytes; botocore limits reads only."""
    result = socket.socket(*address[:3])
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        result.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * SILENCE_TIMEOUT_S))
    return result


def is_local(uri: str) -> bool:
    """Returns whether a URI or path is on the local file system."""
    return isinstance(url_to_fs(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    """Appends path components to a URI.

    A component never replaces what is before it, even if it begins with a slash, as keys of S3 may.
    """
    for part in parts:
        uri = f"{uri}{part}" if not uri or uri.endswith("/") else f"{uri}/{part}"
    return uri


def resolve(base_uri: str, uri: str) -> str:
    """Returns ``uri`` if it is absolute, otherwise ``uri`` relative to ``base_uri``."""
    return uri if scheme_of(uri) or uri.startswith("/") else join(base_uri, uri)


def exists(uri: str) -> bool:
    """Returns whether there is a file or folder at a URI."""
    try:
        _read(uri, "info")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove(uri: str) -> None:
    """Removes a file if it exists."""
    fs, path = url_to_fs(uri)
    with suppress(FileNotFoundError):
        with_retries(f"{uri} cannot be removed", fs.rm_file, path)


def read_bytes(uri: str) -> bytes:
    """Reads a whole file.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
    """
    return bytes(_read(uri, "cat_file"))


def read_new(uri: str, start: int) -> tuple[bytes, int]:
    """Returns the bytes of a file from ``start`` on and its size; ``(b"", 0)`` if there is no such file.

    Reads without retries, for callers that poll.

    Raises:
        OSError, StoragePermanentError: The file cannot be read now.
    """
    fs, path = url_to_fs(uri)
    try:
        size = int(fs.size(path))
        return (bytes(fs.cat_file(path, start=start, end=size)) if size > start else b""), size
    except FileNotFoundError:
        return b"", 0
    except Exception as error:
        raise permanent_error(f"{uri} cannot be read", error) or error from error


def _read(uri: str, method: str, **named: Any) -> Any:
    fs, path = url_to_fs(uri)
    return with_retries(f"{uri} cannot be read", getattr(fs, method), path, **named)


def read_ranges(uris: Sequence[str], offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes | Exception]:
    """Reads byte ranges of many files of one file system, concurrently where it supports that.

    Ranges that are near each other in one file of an object store are read in one request. A range that exceeds its
    file is truncated. For a range whose file is missing or forbidden, the exception is returned. Transient errors are
    retried, because whether a recording can be used must not depend on when it is read.

    Raises:
        StorageError: A range kept failing until the retries timed out.
        StoragePermanentError: No file can be read, because the credentials have expired or the server is unknown.
    """
    if not uris:
        return []
    located = {uri: url_to_fs(uri) for uri in set(uris)}  # many ranges share a shard
    fs, paths = located[uris[0]][0], [located[uri][1] for uri in uris]
    ranges = list(zip(paths, offsets, lengths, strict=True))
    results = _read_once(fs, ranges)
    failed = [index for index, result in enumerate(results) if _should_retry(result)]
    if failed:

        def retry() -> None:
            for index, result in zip(failed, _read_once(fs, [ranges[index] for index in failed]), strict=True):
                results[index] = result
            failed[:] = [index for index in failed if _should_retry(results[index])]
            if failed:
                raise cast(Exception, results[failed[0]])

        with_retries(f"{uris[failed[0]]} cannot be read", retry)
    for uri, result in zip(uris, results, strict=True):
        if isinstance(result, Exception) and affects_all_files(result):
            raise permanent_error(f"{uri} cannot be read", result) or result
    return results


def _should_retry(result: bytes | Exception) -> bool:
    return isinstance(result, Exception) and is_transient(result)


def _read_once(fs: fsspec.AbstractFileSystem, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
    if isinstance(fs, LocalFileSystem):  # fsspec's wrapper of a local file costs more than a small read
        return [local.read_range(*byte_range) for byte_range in ranges]
    return read_joined(fs, ranges)


def write_atomically(uri: str, content: bytes) -> None:
    """Writes a whole file; readers see either the old content or the new.

    Raises:
        StorageError, StoragePermanentError: The file could not be written; the old content is kept.
    """
    fs, path = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        write_with_retries(uri, local.write, path, content)
    else:
        write_with_retries(uri, fs.pipe_file, path, content)  # object stores write atomically


def check_writable(uri: str | os.PathLike[str]) -> None:
    """Checks that a folder, which need not exist, can be written to, without changing anything in it.

    A small object is written and removed: in the folder or, on a local disk where it does not exist yet, in its nearest
    existing parent.

    Raises:
        StorageError, StoragePermanentError: The folder cannot be written to.
    """
    fs, path = url_to_fs(uri)
    where, probe = absolute(uri), f".writable-{uuid.uuid4().hex}"
    what = f"{where} cannot be written"
    if scheme_of(where) in ("http", "https"):
        raise StoragePermanentError(f"{what}: a web server is read-only; {SUPPORTED_URIS}")
    if isinstance(fs, LocalFileSystem):
        write_with_retries(where, local.check_writable, path, probe)
    else:
        write_with_retries(where, fs.pipe_file, f"{path}/{probe}", b"-")
        with_retries(what, fs.rm_file, f"{path}/{probe}")


def upload(path: str, uri: str) -> None:
    """Moves a local file to a URI, where readers see either the whole file or none.

    Raises:
        StorageError, StoragePermanentError: The file could not be written.
    """
    fs, target = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        write_with_retries(uri, local.move, path, target)
    else:
        write_with_retries(uri, fs.put_file, path, target)


def write_with_retries(uri: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> None:
    """Calls a function that writes at a URI until it succeeds.

    Raises:
        StorageError, StoragePermanentError: The function kept failing, or failed permanently.
    """
    what = f"{uri} cannot be written"
    try:
        with_retries(what, function, *arguments, **named)
    except OSError as error:  # a missing bucket, or a file where a folder is needed
        raise permanent_error(what, error) or error from error
    except NotImplementedError as error:
        raise StoragePermanentError(f"{what}: this storage is read-only; {SUPPORTED_URIS}") from error


def local_copy(uri: str, folder: str) -> str:
    """Returns a local path of a file: the file itself if it is local, otherwise a copy in ``folder``.

    Raises:
        FileNotFoundError: There is no such file.
    """
    fs, path = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    copy = posixpath.join(folder, posixpath.basename(path))
    with_retries(f"{uri} cannot be copied to {folder}", fs.get_file, path, copy)
    return copy


def size(uri: str) -> int:
    """Returns the size of a file in bytes.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
    """
    return int(_read(uri, "size"))


def names_in(uri: str) -> list[str]:
    """Returns the names of the files and folders in a folder; none if the folder does not exist."""
    try:
        entries = _read(uri, "ls", detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry.rstrip("/").rpartition("/")[2] for entry in entries]


def remove_folder(uri: str) -> None:
    """Removes a folder and its content if it exists."""
    fs, path = url_to_fs(uri)
    with suppress(FileNotFoundError, NotADirectoryError):
        with_retries(f"{uri} cannot be removed", remove_tree, fs, path)


def copy_folder(uri: str, folder: str) -> None:
    """Copies the content of a folder into a local folder, which is created.

    Raises:
        StorageError: A file could not be copied.
    """
    fs, path = url_to_fs(uri)
    names = _read(uri, "find")
    os.makedirs(folder, exist_ok=True)
    for name in names:
        copy = os.path.join(folder, os.path.relpath(name, path))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with_retries(f"{name} cannot be copied to {folder}", fs.get_file, name, copy)
