"""Files by URI. Local paths, ``s3://``, ``memory://`` and whatever else fsspec knows behave alike.

Whatever passes by itself is tried again (:mod:`mulan.data.retries`); whatever lasts is told with its remedy
(:mod:`mulan.data.storage_errors`). Nothing is answered from a cache. S3 takes its credentials, region and endpoint from
the usual environment variables (``AWS_ENDPOINT_URL`` and so on).
"""

import os
import posixpath
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar, cast

import fsspec
import fsspec.config
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from mulan.data.retries import patiently
from mulan.data.storage_errors import concerns_all, passes_by_itself, refusal

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 15.0
"""After which a server of S3 that neither takes nor sends a byte is taken for gone."""
S3_ATTEMPTS = 3
"""Of one request, in short succession: a part of a large upload that fails now and then must not begin it anew."""

P = ParamSpec("P")
T = TypeVar("T")


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path within it."""
    of_s3 = uri.startswith(("s3://", "s3a://"))
    fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **(_s3_options() if of_s3 else {}))
    if of_s3:
        fs.retries = 1  # botocore's attempts and our patience are enough
    return fs, path


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
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    return posixpath.join(uri, *parts)


def absolute(uri: str | os.PathLike[str]) -> str:
    """A local path from the root on; anything else, the empty path too, as it is."""
    uri = os.fspath(uri)
    return uri if "://" in uri or not uri else os.path.abspath(os.path.expanduser(uri))


def resolve(base_uri: str, uri: str) -> str:
    """``uri`` itself if it is absolute, otherwise ``uri`` below ``base_uri``."""
    return uri if "://" in uri or uri.startswith("/") else join(base_uri, uri)


def exists(uri: str) -> bool:
    try:
        _read(uri, "info")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove(uri: str) -> None:
    """Removes a file, if it is there."""
    fs, path = filesystem(uri)
    with suppress(FileNotFoundError):
        patiently(f"{uri} cannot be removed", fs.rm_file, path)


def read_bytes(uri: str) -> bytes:
    """
    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: there is no such file.
    """
    return bytes(_read(uri, "cat_file"))


def read_new(uri: str, start: int) -> tuple[bytes, int]:
    """The bytes of a file from ``start`` on, and its size; none of a file that is not there.

    Raises:
        OSError, StorageRefused: it cannot be read now. Tried once: for those who ask again in any case.
    """
    fs, path = filesystem(uri)
    try:
        size = int(fs.size(path))
        return (bytes(fs.cat_file(path, start=start, end=size)) if size > start else b""), size
    except FileNotFoundError:
        return b"", 0
    except Exception as error:
        raise refusal(f"{uri} cannot be read", error) or error from error


def _read(uri: str, method: str, **named: Any) -> Any:
    fs, path = filesystem(uri)
    return patiently(f"{uri} cannot be read", getattr(fs, method), path, **named)


def read_ranges(uris: Sequence[str], offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes | Exception]:
    """Byte ranges of many files of one file system, concurrently where it can.

    A range that goes past its file's end has the bytes that are there. One whose file is not there, or may not be read,
    is its exception: whether a recording can be used must not depend on when it is asked for.

    Raises:
        StorageError: a range could not be read for longer than our patience lasts.
        StorageRefused: none could be: the credentials have expired, or nobody knows the server.
    """
    if not uris:
        return []
    found = {uri: filesystem(uri) for uri in set(uris)}  # a shard is asked for many times
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

        patiently(f"{uris[failed[0]]} cannot be read", try_again)
    for uri, result in zip(uris, results, strict=True):
        if isinstance(result, Exception) and concerns_all(result):
            raise refusal(f"{uri} cannot be read", result) or result
    return results


def _may_pass(result: bytes | Exception) -> bool:
    return isinstance(result, Exception) and passes_by_itself(result)


def _read_once(fs: fsspec.AbstractFileSystem, parts: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
    if isinstance(fs, LocalFileSystem):  # fsspec wraps a file in more than a small read costs
        return [_read_local(*part) for part in parts]
    paths, starts, lengths = zip(*parts, strict=True)
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    results: list[bytes | Exception] = fs.cat_ranges(list(paths), list(starts), ends, on_error="return")
    return [b"" if _is_past_the_end(result) else result for result in results]


def _is_past_the_end(result: bytes | Exception) -> bool:
    """S3's answer to a range of which nothing is there; other storage gives no bytes."""
    answer = getattr(result.__cause__, "response", {}) if isinstance(result, OSError) else {}
    return answer.get("Error", {}).get("Code") in ("InvalidRange", "416")


def _read_local(path: str, offset: int, length: int) -> bytes | OSError:
    try:
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size - offset
            if there <= 0:
                return b""
            file.seek(offset)
            return file.read(min(length, there))  # it takes memory for all that is asked for
    except OSError as error:
        return error


def write_atomically(uri: str, content: bytes) -> None:
    """Writes a whole file; a reader sees the old content or the new, never a part.

    Raises:
        StorageError, StorageRefused: it could not be; what was there is still there.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        _write(uri, _write_local, fs, path, content)
    else:
        _write(uri, fs.pipe_file, path, content)  # an object store shows an object only when it is whole


def upload(path: str, uri: str) -> None:
    """Moves a local file to a URI; a reader there sees it whole or not at all.

    Raises:
        StorageError, StorageRefused: as :func:`write_atomically`.
    """
    fs, target = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        _write(uri, _move_local, fs, path, target)
    else:
        _write(uri, fs.put_file, path, target)


def _write(uri: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> None:
    what = f"{uri} cannot be written"
    try:
        patiently(what, function, *arguments, **named)
    except OSError as error:  # no bucket, or a file in the place of a folder
        raise refusal(what, error) or error from error


def _write_local(fs: LocalFileSystem, path: str, content: bytes) -> None:
    with _aside(fs, path) as aside, open(aside, "wb") as file:
        file.write(content)


def _move_local(fs: LocalFileSystem, path: str, target: str) -> None:
    with _aside(fs, target) as aside:
        shutil.move(path, aside)


def local_copy(uri: str, folder: str) -> str:
    """Path of a file's content: the file itself if it is local, otherwise a copy in ``folder``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    copy = posixpath.join(folder, posixpath.basename(path))
    patiently(f"{uri} cannot be copied to {folder}", fs.get_file, path, copy)
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
    except FileNotFoundError:
        return []
    return [entry.rstrip("/").rpartition("/")[2] for entry in entries]


def remove_folder(uri: str) -> None:
    """Removes a folder and all that is in it, if it is there."""
    fs, path = filesystem(uri)
    with suppress(FileNotFoundError):
        patiently(f"{uri} cannot be removed", fs.rm, path, recursive=True)


@contextmanager
def _aside(fs: LocalFileSystem, path: str) -> Iterator[str]:
    """A name beside a file, that takes its place when the block ends well and is removed when it does not.

    The folder is made if need be.
    """
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    aside = f"{path}.{uuid.uuid4().hex}.part"
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(aside)
        raise
