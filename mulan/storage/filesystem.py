"""Files by URI. Local paths, ``s3://``, ``memory://`` and whatever else fsspec knows behave alike.

Whatever passes by itself is tried again (:mod:`mulan.storage.retries`); whatever lasts is told with its remedy
(:mod:`mulan.storage.errors`). Nothing is answered from a cache. S3 takes its credentials, region and endpoint from
the usual environment variables (``AWS_ENDPOINT_URL`` and so on).
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
    SCHEMES_THAT_WORK,
    StoragePermanentError,
    UnsupportedStorage,
    affects_all_files,
    is_transient,
    location_fault,
    permanent_error,
)
from mulan.storage.retries import with_retries
from mulan.storage.trees import remove_tree

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 15.0
"""After which a server of S3 that neither takes nor sends a byte is taken for gone."""
S3_ATTEMPTS = 3
"""Of one request, in short succession: a part of a large upload that fails now and then must not begin it anew."""

P = ParamSpec("P")
T = TypeVar("T")


def url_to_fs(uri: str | os.PathLike[str]) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path within it. A local path need not be absolute.

    No letter of a path has a meaning of its own, as long as the file system's methods for one file or folder are used:
    ``info``, ``ls``, ``find``, ``open``, ``cat_file``, ``pipe_file``, ``get_file``, ``put_file``, ``cp_file`` and
    ``rm_file``. fsspec's others (``rm``, ``get``, ``copy``, ``glob``) take ``[``, ``?`` and ``*`` for patterns.

    Raises:
        UnsupportedStorage: nothing can be stored at such a URI, or a package that it takes is not installed.
    """
    where = absolute(uri)
    fault = location_fault(where)
    if fault:
        raise UnsupportedStorage(f"{printable(where) or 'storage'}: {fault}")
    scheme = scheme_of(where)
    if not scheme or scheme in LOCAL_SCHEMES:
        return LocalFileSystem(), where.removeprefix(f"{scheme}://")
    of_s3 = scheme in ("s3", "s3a")
    try:
        kind = fsspec.get_filesystem_class(scheme)
        given = kind._get_kwargs_from_urls(where) | (_s3_options() if of_s3 else {})
        fs, path = kind(use_listings_cache=False, **given), kind._strip_protocol(where)
    except ImportError as error:
        raise UnsupportedStorage(f"{where}: {scheme}:// takes a package that is not installed: {error}") from error
    except Exception as error:  # whatever the package of that scheme raises
        raise UnsupportedStorage(f"{where}: cannot be used: {_reason(error)}; {SCHEMES_THAT_WORK}") from error
    if of_s3:
        fs.retries = 1  # botocore's attempts and our patience are enough
    return fs, path


def printable(path: str) -> str:
    """A path as it can be shown: letters that are no Unicode, and line ends, are written as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in path)


def _reason(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")


def _s3_options() -> dict[str, Any]:
    own = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": SILENCE_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": S3_ATTEMPTS},
        "connector_args": {"socket_factory": _socket},
    }
    return {"config_kwargs": own | fsspec.config.conf.get("s3", {}).get("config_kwargs", {})}


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """One that also notices a peer that takes no more bytes; reading has its own timeout."""
    made = socket.socket(*address[:3])
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * SILENCE_TIMEOUT_S))
    return made


def is_local(uri: str) -> bool:
    return isinstance(url_to_fs(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    return posixpath.join(uri, *parts)


def resolve(base_uri: str, uri: str) -> str:
    """``uri`` itself if it is absolute, otherwise ``uri`` below ``base_uri``."""
    return uri if scheme_of(uri) or uri.startswith("/") else join(base_uri, uri)


def exists(uri: str) -> bool:
    try:
        _read(uri, "info")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove(uri: str) -> None:
    """Removes a file, if it is there."""
    fs, path = url_to_fs(uri)
    with suppress(FileNotFoundError):
        with_retries(f"{uri} cannot be removed", fs.rm_file, path)


def read_bytes(uri: str) -> bytes:
    """
    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: there is no such file.
    """
    return bytes(_read(uri, "cat_file"))


def read_new(uri: str, start: int) -> tuple[bytes, int]:
    """The bytes of a file from ``start`` on, and its size; none of a file that is not there.

    Raises:
        OSError, StoragePermanentError: it cannot be read now. Tried once: for those who ask again in any case.
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
    """Byte ranges of many files of one file system, concurrently where it can.

    A range that goes past its file's end has the bytes that are there. One whose file is not there, or may not be read,
    is its exception: whether a recording can be used must not depend on when it is asked for.

    Raises:
        StorageError: a range could not be read for longer than our patience lasts.
        StoragePermanentError: none could be: the credentials have expired, or nobody knows the server.
    """
    if not uris:
        return []
    found = {uri: url_to_fs(uri) for uri in set(uris)}  # a shard is asked for many times
    fs, paths = found[uris[0]][0], [found[uri][1] for uri in uris]
    parts = list(zip(paths, offsets, lengths, strict=True))
    results = _read_once(fs, parts)
    failed = [number for number, result in enumerate(results) if _may_pass(result)]
    if failed:

        def try_again() -> None:
            for number, result in zip(failed, _read_once(fs, [parts[number] for number in failed]), strict=True):
                results[number] = result
            failed[:] = [number for number in failed if _may_pass(results[number])]
            if failed:
                raise cast(Exception, results[failed[0]])

        with_retries(f"{uris[failed[0]]} cannot be read", try_again)
    for uri, result in zip(uris, results, strict=True):
        if isinstance(result, Exception) and affects_all_files(result):
            raise permanent_error(f"{uri} cannot be read", result) or result
    return results


def _may_pass(result: bytes | Exception) -> bool:
    return isinstance(result, Exception) and is_transient(result)


def _read_once(fs: fsspec.AbstractFileSystem, parts: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
    if isinstance(fs, LocalFileSystem):  # fsspec wraps a file in more than a small read costs
        return [local.read_range(*part) for part in parts]
    paths, starts, lengths = zip(*parts, strict=True)
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    results: list[bytes | Exception] = fs.cat_ranges(list(paths), list(starts), ends, on_error="return")
    return [b"" if _is_past_the_end(result) else result for result in results]


def _is_past_the_end(result: bytes | Exception) -> bool:
    """S3's answer to a range of which nothing is there; other storage gives no bytes."""
    answer = getattr(result.__cause__, "response", {}) if isinstance(result, OSError) else {}
    return answer.get("Error", {}).get("Code") in ("InvalidRange", "416")


def write_atomically(uri: str, content: bytes) -> None:
    """Writes a whole file; a reader sees the old content or the new, never a part.

    Raises:
        StorageError, StoragePermanentError: it could not be; what was there is still there.
    """
    fs, path = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        write_by(uri, local.write, path, content)
    else:
        write_by(uri, fs.pipe_file, path, content)  # an object store shows an object only when it is whole


def try_writing(uri: str | os.PathLike[str]) -> None:
    """Makes sure that a folder can be written, whether or not it is there; leaves nothing, and touches nothing there.

    A small object is written and removed: in the folder or, on a disk where it is not there yet, in the one in which it
    would be made.

    Raises:
        StorageError, StoragePermanentError: it cannot be.
    """
    fs, path = url_to_fs(uri)
    where, probe = absolute(uri), f".writable-{uuid.uuid4().hex}"
    what = f"{where} cannot be written"
    if scheme_of(where) in ("http", "https"):
        raise StoragePermanentError(f"{what}: a web server can only be read; {SCHEMES_THAT_WORK}")
    if isinstance(fs, LocalFileSystem):
        write_by(where, local.try_writing, path, probe)
    else:
        write_by(where, fs.pipe_file, f"{path}/{probe}", b"-")
        with_retries(what, fs.rm_file, f"{path}/{probe}")


def upload(path: str, uri: str) -> None:
    """Moves a local file to a URI; a reader there sees it whole or not at all.

    Raises:
        StorageError, StoragePermanentError: as :func:`write_atomically`.
    """
    fs, target = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        write_by(uri, local.move, path, target)
    else:
        write_by(uri, fs.put_file, path, target)


def write_by(uri: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> None:
    """Calls what writes at a URI until it succeeds.

    Raises:
        StorageError, StoragePermanentError: it does not.
    """
    what = f"{uri} cannot be written"
    try:
        with_retries(what, function, *arguments, **named)
    except OSError as error:  # no bucket, or a file in the place of a folder
        raise permanent_error(what, error) or error from error
    except NotImplementedError as error:
        raise StoragePermanentError(f"{what}: such a storage can only be read; {SCHEMES_THAT_WORK}") from error


def local_copy(uri: str, folder: str) -> str:
    """Path of a file's content: the file itself if it is local, otherwise a copy in ``folder``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, path = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    copy = posixpath.join(folder, posixpath.basename(path))
    with_retries(f"{uri} cannot be copied to {folder}", fs.get_file, path, copy)
    return copy


def size(uri: str) -> int:
    """In bytes.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
    """
    return int(_read(uri, "size"))


def names_in(uri: str) -> list[str]:
    """Names of the files and folders in a folder; none where there is no folder."""
    try:
        entries = _read(uri, "ls", detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry.rstrip("/").rpartition("/")[2] for entry in entries]


def remove_folder(uri: str) -> None:
    """Removes a folder and all that is in it, if it is there."""
    fs, path = url_to_fs(uri)
    with suppress(FileNotFoundError, NotADirectoryError):
        with_retries(f"{uri} cannot be removed", remove_tree, fs, path)


def copy_folder(uri: str, folder: str) -> None:
    """Copies all that is in a folder into a local one, which is made.

    Raises:
        StorageError: it could not be copied.
    """
    fs, path = url_to_fs(uri)
    names = _read(uri, "find")
    os.makedirs(folder, exist_ok=True)
    for name in names:
        copy = os.path.join(folder, os.path.relpath(name, path))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with_retries(f"{name} cannot be copied to {folder}", fs.get_file, name, copy)
