"""Folders of any file system as wholes, without reading a path as a pattern: for storage of our own and for Ray's.

The methods of fsspec that take whole folders (``rm``, ``get``, ``copy``, ``mv``) expand ``[``, ``?`` and ``*`` in a
path on every file system but the local one, and so reach for other people's files.
"""

import os
import posixpath
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler


def remove_tree(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Removes a folder and all that is in it.

    Raises:
        FileNotFoundError: it is not there.
    """
    if isinstance(fs, LocalFileSystem):
        fs.rm(path, recursive=True)
        return
    files, folders = _within(fs, path)
    for name in files:
        with suppress(FileNotFoundError):  # an attempt before this one may have removed it
            fs.rm_file(name)
    for folder in sorted({path, *folders}, reverse=True):
        if fs.isdir(folder):  # an object store has no folders but those that hold something
            fs.rmdir(folder)


def _within(fs: fsspec.AbstractFileSystem, path: str) -> tuple[list[str], list[str]]:
    found = fs.find(path, withdirs=True, detail=True)
    if not found:
        fs.info(path)  # raises FileNotFoundError
    folders = [name for name, info in found.items() if info["type"] == "directory" and not name.endswith("/")]
    return [name for name in found if name not in folders], folders


class LiteralHandler(FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types
    """pyarrow's way to a file system of fsspec, taking every path as it is."""

    def delete_dir(self, path: str) -> None:
        remove_tree(self.fs, path)

    def _delete_dir_contents(self, path: str, missing_dir_ok: bool) -> None:
        try:
            inside = self.fs.ls(path, detail=True)
        except FileNotFoundError:
            if missing_dir_ok:
                return
            raise
        for info in inside:
            if info["type"] == "directory":
                remove_tree(self.fs, info["name"])
            else:
                self.fs.rm_file(info["name"])

    def delete_file(self, path: str) -> None:
        if self.fs.isdir(path):
            raise IsADirectoryError(path)
        self.fs.info(path)  # raises FileNotFoundError: object stores remove what is not there
        self.fs.rm_file(path)

    def copy_file(self, src: str, dest: str) -> None:
        if self.fs.isdir(src):
            raise IsADirectoryError(src)
        self.fs.cp_file(src, dest)

    def move(self, src: str, dest: str) -> None:
        if isinstance(self.fs, LocalFileSystem):
            os.replace(src, dest)
        elif self.fs.isdir(src):
            for name in _within(self.fs, src)[0]:
                self.fs.cp_file(name, posixpath.join(dest, posixpath.relpath(name, src)))
            remove_tree(self.fs, src)
        else:
            self.fs.cp_file(src, dest)
            self.fs.rm_file(src)
