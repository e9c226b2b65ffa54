"""Listing of all files below a folder, locally or on any storage that fsspec supports."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from mulan.storage.filesystem import url_to_fs
from mulan.storage.retries import with_retries

_CHANGED = ("ETag", "etag", "LastModified", "mtime", "created")
"""What the file systems of fsspec call the time or the identity of a file's content."""


def files_below(uri: str, wanted: Callable[[str], bool] = lambda path: True) -> dict[str, str]:
    """Lists the files below a folder, also in its subfolders, and follows symbolic links.

    Args:
        uri: Path or URI of the folder.
        wanted: Whether a file is listed, by its path relative to the folder.

    Returns:
        A version of each file by its relative path, in the order of the paths. A version changes if the file does, as
        far as a listing shows it: it is made of the size and the time of the last change or, on S3, the ETag. Hidden
        files, and those in hidden folders, are not listed.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such folder.
        StorageError, StoragePermanentError: It cannot be listed.
    """
    fs, path = url_to_fs(uri)
    found = _local_files(path) if isinstance(fs, LocalFileSystem) else _remote_files(fs, path, uri)
    visible = ((name, version) for name, version in found if not _is_hidden(name))
    return dict(sorted((name, version) for name, version in visible if wanted(name)))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _local_files(root: str) -> Iterator[tuple[str, str]]:
    with os.scandir(root):  # raises what is wrong with the folder
        pass
    visited = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:  # a link to a parent folder
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:  # a dangling link
                continue
            yield os.path.relpath(path, root), f"{status.st_size}-{status.st_mtime_ns}"


def _remote_files(fs: Any, root: str, uri: str) -> Iterator[tuple[str, str]]:
    entries = with_retries(f"{uri} cannot be listed", fs.find, root, detail=True)
    if not entries:
        with_retries(f"{uri} cannot be listed", fs.info, root)  # raises FileNotFoundError
    prefix = root.rstrip("/") + "/"
    for name, info in entries.items():
        if not name.startswith(prefix):  # the folder is a file
            raise NotADirectoryError(uri)
        if info["type"] == "file" and not name.endswith("/"):
            changed = next(
                (info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if key in info), ""
            )
            yield name.removeprefix(prefix), f"{info.get('size', '')}-{changed}"
