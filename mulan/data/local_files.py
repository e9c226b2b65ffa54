"""Files on a disk: read in parts, and written so that a reader sees the old content or the new."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def read_range(path: str, offset: int, length: int) -> bytes | OSError:
    """The bytes that are there, or why they cannot be read."""
    try:
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size - offset
            if there <= 0:
                return b""
            file.seek(offset)
            return file.read(min(length, there))  # it takes memory for all that is asked for
    except OSError as error:
        return error


def write(path: str, content: bytes) -> None:
    """Makes a file of this content; its folder is made if need be."""
    with _aside(path) as aside, open(aside, "wb") as file:
        file.write(content)


def create(path: str, content: bytes) -> bool:
    """Makes a file unless it is there; whether it was made. Its folder is made if need be.

    Another process may see it while it is still empty.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with suppress(FileExistsError), open(path, "xb") as file:  # atomic on NFS as well, from version 3 on
        file.write(content)
        return True
    return False


def move(path: str, target: str) -> None:
    """Moves a file, from another disk too; its folder is made if need be."""
    with _aside(target) as aside:
        shutil.move(path, aside)


def try_writing(folder: str, name: str) -> None:
    """Writes and removes a file of that name in a folder or, if there is none, in the one in which it would be made.

    Raises:
        OSError: it cannot be written, or there is something else in the place of the folder.
    """
    there = folder
    while not os.path.isdir(there):
        with suppress(FileNotFoundError):
            os.lstat(there)  # raises what is wrong with the name
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), there)
        there = os.path.dirname(there)
    for part in os.path.relpath(folder, there).split(os.sep):
        if len(os.fsencode(part)) > os.pathconf(there, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), folder)
    file = os.path.join(there, name)
    try:
        with open(file, "xb") as opened:
            opened.write(b"-")
    finally:
        with suppress(FileNotFoundError):
            os.remove(file)


@contextmanager
def _aside(path: str) -> Iterator[str]:
    """A name beside a file, that takes its place when the block ends well and is removed when it does not.

    The folder is made if need be.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{uuid.uuid4().hex}.part"
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(aside)
        raise
