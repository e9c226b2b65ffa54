"""Files by URI. Local paths, ``s3://``, ``memory://`` and whatever else fsspec knows behave alike.

Whatever passes by itself is tried again (:mod:`mulan.data.retries`). S3 takes its credentials, region and endpoint from
the usual environment variables (``AWS_ENDPOINT_URL`` and so on).
"""

import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from mulan.data.retries import passes_by_itself, patiently


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path within it."""
    return fsspec.core.url_to_fs(uri)


def is_local(uri: str) -> bool:
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    return posixpath.join(uri, *parts)


def absolute(uri: str) -> str:
    """A local path from the root on; anything else, the empty path too, as it is."""
    return uri if "://" in uri or not uri else os.path.abspath(uri)


def resolve(base_uri: str, uri: str) -> str:
    """``uri`` itself if it is absolute, otherwise ``uri`` below ``base_uri``."""
    return uri if "://" in uri or uri.startswith("/") else join(base_uri, uri)


def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    return bool(patiently(fs.exists, path))


def remove(uri: str) -> None:
    """Removes a file, if it is there."""
    fs, path = filesystem(uri)
    with suppress(FileNotFoundError):
        patiently(fs.rm_file, path)


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    return bytes(patiently(fs.cat_file, path))


def read_ranges(uris: Sequence[str], offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes | Exception]:
    """Byte ranges of many files of one file system, concurrently where it can.

    A range that goes past its file's end has the bytes that are there. One whose file is not there, or may not be read,
    is its exception: whether a recording can be used must not
    depend on when it is asked for.

    Raises:
        StorageError: a range could not be read for longer than our patience lasts.
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

        patiently(try_again)
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
    """Writes a whole file; a reader sees the old content or the new, never a part, and a full disk leaves the old."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        patiently(fs.pipe_file, path, content)  # an object store shows an object only when it is whole
        return
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    with _aside(fs, path) as aside, open(aside, "wb") as file:
        file.write(content)


def upload(path: str, uri: str) -> None:
    """Moves a local file to a URI; a reader there sees it whole or not at all."""
    fs, target = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        patiently(fs.put_file, path, target)
        return
    fs.makedirs(posixpath.dirname(target), exist_ok=True)
    with _aside(fs, target) as aside:
        shutil.move(path, aside)


def local_copy(uri: str, folder: str) -> str:
    """Path of a file's content: the file itself if it is local, otherwise a copy in ``folder``."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    copy = posixpath.join(folder, posixpath.basename(path))
    patiently(fs.get_file, path, copy)
    return copy


def size(uri: str) -> int:
    """In bytes."""
    fs, path = filesystem(uri)
    return int(patiently(fs.size, path))


def names_in(uri: str) -> list[str]:
    """Names of the files and folders in a folder; none where there is no folder."""
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    try:
        entries = patiently(fs.ls, path, detail=False)
    except FileNotFoundError:
        return []
    return [entry.rstrip("/").rpartition("/")[2] for entry in entries]


def remove_empty_folder(uri: str) -> None:
    """Where folders are more than parts of names."""
    fs, path = filesystem(uri)
    with suppress(FileNotFoundError):
        if isinstance(fs, LocalFileSystem) and not os.listdir(path):
            os.rmdir(path)


@contextmanager
def _aside(fs: LocalFileSystem, path: str) -> Iterator[str]:
    """A name beside a file, that takes its place when the block ends well and is removed when it does not."""
    aside = f"{path}.{uuid.uuid4().hex}.part"
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(aside)
        raise
