"""Files by URI. Local paths, ``s3://``, ``memory://`` and whatever else fsspec knows behave alike.

S3 takes its credentials, region and endpoint from the usual environment variables (``AWS_ENDPOINT_URL`` and so on).
"""

import os
import posixpath
import uuid
from collections.abc import Sequence

import fsspec
import fsspec.core
from fsspec.implementations.local import LocalFileSystem


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
    return bool(fs.exists(path))


def remove(uri: str) -> None:
    """Removes a file, if it is there."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm_file(path)


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    return bytes(fs.cat_file(path))


def read_ranges(uris: Sequence[str], offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes | Exception]:
    """Byte ranges of many files of one file system, concurrently where it can; a failed range is its exception."""
    if not uris:
        return []
    found = {uri: filesystem(uri) for uri in set(uris)}  # a shard is asked for many times
    fs, paths = found[uris[0]][0], [found[uri][1] for uri in uris]
    if isinstance(fs, LocalFileSystem):  # fsspec wraps a file in more than a small read costs
        return [_read_local(*part) for part in zip(paths, offsets, lengths, strict=True)]
    ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
    result: list[bytes | Exception] = fs.cat_ranges(paths, list(offsets), ends, on_error="return")
    return result


def _read_local(path: str, offset: int, length: int) -> bytes | OSError:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        return error


def write_atomically(uri: str, content: bytes) -> None:
    """Writes a whole file; a reader sees the old content or the new, never a part, and a full disk leaves the old."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, content)  # an object store shows an object only when it is whole
        return
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    aside = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with fs.open(aside, "wb") as file:
            file.write(content)
        fs.mv(aside, path)
    except BaseException:
        if fs.exists(aside):
            fs.rm_file(aside)
        raise
