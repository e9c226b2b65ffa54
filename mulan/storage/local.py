"""Files on a disk: read in parts, and written so that a reader sees the old content or the new."""

import errno
import fcntl
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mulan.storage.errors import StoragePermanentError


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


PLACE = "name another folder by TMPDIR, one of this machine's own"
_PREFIX, _LOCK = "mulan_checkpoint_", ".lock"


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Makes a folder that is removed when the block ends or, if this process is killed, by the next one made here.

    A folder is in use as long as the file of its name with ``.lock`` is locked (``flock``), which the system ends with
    the process. Processes that share TMPDIR from other containers or hosts leave each other's alone.

    Raises:
        StoragePermanentError: there is no place for one.
    """
    try:
        _remove_left(Path(tempfile.gettempdir()))
        made = tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=_LOCK, delete=False)  # noqa: SIM115
    except OSError as error:
        raise StoragePermanentError(f"there is no place for temporary files: {error}; make room, or {PLACE}") from error
    with made as lock:
        try:
            # on a file system without locks the file stays empty, and everybody leaves the folder alone
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
                lock.write(socket.gethostname().encode())
                lock.flush()
            folder = _folder_of(lock.name)
            try:
                folder.mkdir(mode=0o700)
            except OSError as error:
                raise StoragePermanentError(f"{folder} cannot be made: {error}; make room, or {PLACE}") from error
            yield str(folder)
        finally:
            _remove(lock.name)


def _remove_left(parent: Path) -> None:
    """Removes folders whose process was killed."""
    for path in parent.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError), path.open("rb") as lock:
            if _was_left(lock):
                _remove(path)


def _was_left(lock: IO[bytes]) -> bool:
    """Whether the process of a lock file has ended; False where that cannot be known.

    Raises:
        OSError: it is locked, or this file system knows no locks.
    """
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # a mount without locks between hosts grants each host its own
    return lock.read() == socket.gethostname().encode()


def _remove(lock: str | os.PathLike[str]) -> None:
    shutil.rmtree(_folder_of(lock), ignore_errors=True)
    with suppress(OSError):
        os.remove(lock)


def _folder_of(lock: str | os.PathLike[str]) -> Path:
    return Path(os.fspath(lock).removesuffix(_LOCK))
