"""Recursive operations on folders in any file system, with literal paths, for mulan's own storage and for Ray's.

fsspec's recursive methods (``rm``, ``get``, ``copy``, ``mv``) expand ``[``, ``?`` and ``*`` in a path on every file
system except the local one, and would therefore affect unrelated files.
"""

import os
import posixpath
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler


def remove_tree(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Removes a folder and its content.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    if isinstance(fs, LocalFileSystem):
        fs.rm(path, recursive=True)
        return
    files, folders = _files_and_folders(fs, path)
    for name in files:
        with suppress(FileNotFoundError):  # an earlier attempt may have removed it
            fs.rm_file(name)
    for folder in sorted({path, *folders}, reverse=True):
        if fs.isdir(folder):  # an object store has no empty folders
            fs.rmdir(folder)


def _files_and_folders(fs: fsspec.AbstractFileSystem, path: str) -> tuple[list[str], list[str]]:
    entries = fs.find(path, withdirs=True, detail=True)
    if not entries:
        fs.info(path)  # raises FileNotFoundError
    folders = [name for name, info in entries.items() if info["type"] == "directory" and not name.endswith("/")]
    return [name for name in entries if name not in folders], folders


class LiteralHandler(FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types
    """A pyarrow handler for fsspec file systems that does not expand patterns in paths."""

    def delete_dir(self, path: str) -> None:
        remove_tree(self.fs, path)

    def _delete_dir_contents(self, path: str, missing_dir_ok: bool) -> None:
        try:
            entries = self.fs.ls(path, detail=True)
        except FileNotFoundError:
            if missing_dir_ok:
                return
            raise
        for info in entries:
            if info["type"] == "directory":
                remove_tree(self.fs, info["name"])
            else:
                self.fs.rm_file(info["name"])

    def delete_file(self, path: str) -> None:
        if self.fs.isdir(path):
            raise IsADirectoryError(path)
        self.fs.info(path)  # raises FileNotFoundError; object stores remove missing objects without an error
        self.fs.rm_file(path)

    def copy_file(self, src: str, dest: str) -> None:
        if self.fs.isdir(src):
            raise IsADirectoryError(src)
        self.fs.cp_file(src, dest)

    def move(self, src: str, dest: str) -> None:
        if isinstance(self.fs, LocalFileSystem):
            os.replace(src, dest)
        elif self.fs.isdir(src):
            for name in _files_and_folders(self.fs, src)[0]:
                self.fs.cp_file(name, posixpath.join(dest, posixpath.relpath(name, src)))
            remove_tree(self.fs, src)
        else:
            self.fs.cp_file(src, dest)
            self.fs.rm_file(src)
