"""Listing of a folder, or of all files below it, locally or on any storage that fsspec supports."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from mulan.storage.filesystem import url_to_fs
from mulan.storage.retries import with_retries

_CHANGED = ("ETag", "etag", "LastModified", "mtime", "created")
"""What the file systems of fsspec call the time or the identity of a file's content."""

_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What the file systems of fsspec call the time of a file's last change."""

_OF_THE_SYSTEM = frozenset({"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that archives and disks contain without a user's doing; some of them cannot be read."""


@dataclass(frozen=True)
class FolderEntry:
    """A file or folder in a folder."""

    is_folder: bool
    """Whether it is a folder."""
    size: int
    """Size of the file in bytes; 0 of a folder."""
    modified: float | None
    """Time of the last change as a Unix time in seconds, by the clock of the storage; None if it is unknown."""


def entries_in(uri: str) -> dict[str, FolderEntry]:
    """Lists the files and folders in a folder by name, in one request for up to 1,000 of them.

    Returns:
        None of them if the folder does not exist.

    Raises:
        StorageError, StoragePermanentError: It cannot be listed.
    """
    fs, path = url_to_fs(uri)
    try:
        found = with_retries(f"{uri} cannot be listed", fs.ls, path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # object stores list a file as its own entry, and some the folder's marker
    below = [info for info in found if info["name"].rstrip("/") != path.rstrip("/")]
    entries = {info["name"].rstrip("/").rpartition("/")[2]: info for info in below}
    return {name: _entry(fs, info) for name, info in sorted(entries.items()) if name}


def _entry(fs: AbstractFileSystem, info: Mapping[str, Any]) -> FolderEntry:
    is_folder = info["type"] == "directory" or bool(info.get("islink") and fs.isdir(info["name"]))
    return FolderEntry(is_folder, 0 if is_folder else int(info.get("size") or 0), _modified(info))


def _modified(info: Mapping[str, Any]) -> float | None:
    value = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None


def files_below(uri: str, wanted: Callable[[str], bool] = lambda path: True) -> dict[str, str]:
    """Lists the files below a folder, also in its subfolders, and follows symbolic links.

    Args:
        uri: Path or URI of the folder.
        wanted: Whether a file is listed, by its path relative to the folder.

    Returns:
        A version of each file by its relative path, in the order of the paths. A version changes if the file does, as
        far as a listing shows it: it is made of the size and the time of the last change or, on S3, the ETag. Hidden
        files, and those in hidden folders and in folders of the system, are not listed, nor is what is no file, such as
        a pipe. A link whose target is missing is listed with an empty version, so that its reader reports it.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such folder.
        StorageError, StoragePermanentError: It cannot be listed, or a folder in it cannot.
    """
    fs, path = url_to_fs(uri)

    def listed(name: str) -> bool:
        return not _is_hidden(name) and wanted(name)

    is_local = isinstance(fs, LocalFileSystem)
    return dict(sorted(_local_files(path, listed) if is_local else _remote_files(fs, path, uri, listed)))


def file_version(uri: str) -> str:
    """Returns a version of one file, which changes if the file does, as far as the storage says without reading it.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
        StorageError, StoragePermanentError: The storage cannot be read.
    """
    fs, path = url_to_fs(uri)
    info = with_retries(f"{uri} cannot be read", fs.info, path)
    if info["type"] != "file":
        raise IsADirectoryError(uri)
    if isinstance(fs, LocalFileSystem):
        status = os.stat(path)
        return f"{status.st_size}-{status.st_mtime_ns}"
    return _remote_version(info)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in _OF_THE_SYSTEM for part in name.split("/"))


def _local_files(root: str, listed: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yields the files below a folder, also those that links lead to; a link to a parent folder is not followed."""
    folders: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while folders:
        name, parents = folders.pop()
        path = os.path.join(root, name) if name else root
        entries = with_retries(f"{path} cannot be listed", _entries, path)
        status = os.stat(path)
        here = parents | {(status.st_dev, status.st_ino)}
        for entry in entries:
            below = os.path.join(name, entry.name)
            found = _followed(entry)
            if found is None:
                if listed(below):
                    yield below, ""
            elif stat.S_ISDIR(found.st_mode):
                if not _is_hidden(entry.name) and (found.st_dev, found.st_ino) not in here:
                    folders.append((below, here))
            elif stat.S_ISREG(found.st_mode) and listed(below):
                yield below, f"{found.st_size}-{found.st_mtime_ns}"


def _entries(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _followed(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Returns the status of a file or of the target of a link; None if there is no target."""
    try:
        return entry.stat()
    except OSError:
        return None


def _remote_files(fs: Any, root: str, uri: str, listed: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    entries = with_retries(f"{uri} cannot be listed", fs.find, root, detail=True)
    if not entries:
        with_retries(f"{uri} cannot be listed", fs.info, root)  # raises FileNotFoundError
    prefix = root.rstrip("/") + "/"
    for path, info in entries.items():
        if not path.startswith(prefix):  # the folder is a file
            raise NotADirectoryError(uri)
        name = path.removeprefix(prefix)
        if info["type"] == "file" and name and not name.endswith("/") and listed(name):
            yield name, _remote_version(info)


def _remote_version(info: Mapping[str, Any]) -> str:
    changed = next((info[key] for key in _CHANGED if key in info), "")
    return f"{info.get('size', '')}-{changed}"
