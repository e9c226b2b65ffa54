"""Local files: reads of byte ranges, atomic writes, and temporary folders that are removed even after a crash."""

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
    """Returns the bytes of a range, truncated at the end of the file, or the error of reading it."""
    try:
        with open(path, "rb") as file:
            available = os.fstat(file.fileno()).st_size - offset
            if available <= 0:
                return b""
            file.seek(offset)
            return file.read(min(length, available))  # read() allocates the full length that it is given
    except OSError as error:
        return error


def write(path: str, content: bytes) -> None:
    """Writes a file atomically, and creates its folder if needed."""
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def create(path: str, content: bytes) -> bool:
    """Creates a file, and its folder if needed; returns False, and changes nothing, if the file exists.

    Another process may see the file while it is still empty.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with suppress(FileExistsError), open(path, "xb") as file:  # atomic on NFS as well, from version 3 on
        file.write(content)
        return True
    return False


def move(path: str, target: str) -> None:
    """Moves a file atomically, even to another disk, and creates its folder if needed."""
    with _replacing(target) as temporary:
        shutil.move(path, temporary)


def check_writable(folder: str, name: str) -> None:
    """Writes and removes a file ``name`` in a folder or, if that does not exist, in its nearest existing parent.

    Raises:
        OSError: The file cannot be written, or the path of the folder is that of something else.
    """
    parent = folder
    while not os.path.isdir(parent):
        with suppress(FileNotFoundError):
            os.lstat(parent)  # raises if the name is invalid
            if os.path.isdir(parent):  # another process has just created it
                break
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), parent)
        parent = os.path.dirname(parent)
    for part in os.path.relpath(folder, parent).split(os.sep):
        if len(os.fsencode(part)) > os.pathconf(parent, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), folder)
    file = os.path.join(parent, name)
    try:
        with open(file, "xb") as opened:
            opened.write(b"-")
    finally:
        with suppress(FileNotFoundError):
            os.remove(file)


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Yields a temporary path in the folder of a file, which is created if needed.

    The temporary file replaces the file when the block succeeds, and is removed when it fails.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.part"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise


TMPDIR_REMEDY = "set TMPDIR to another local folder"
"""Remedy for temporary files that cannot be written."""
_PREFIX, _LOCK = "mulan_checkpoint_", ".lock"


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Creates a folder that is removed when the block ends or, if this process is killed, by a later call on this host.

    A folder is in use while the file of the same name with ``.lock`` is locked (``flock``); the system releases the
    lock when the process ends. Processes on different hosts or in different containers that share TMPDIR do not remove
    each other's folders.

    Raises:
        StoragePermanentError: The folder cannot be created.
    """
    try:
        _remove_stale(Path(tempfile.gettempdir()))
        lock_file = tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=_LOCK, delete=False)  # noqa: SIM115
    except OSError as error:
        raise StoragePermanentError(
            f"temporary files cannot be written: {error}; free some space, or {TMPDIR_REMEDY}"
        ) from error
    with lock_file as lock:
        try:
            # on a file system without locks the file stays empty, and no process removes the folder
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
                lock.write(socket.gethostname().encode())
                lock.flush()
            folder = _folder_of(lock.name)
            try:
                folder.mkdir(mode=0o700)
            except OSError as error:
                raise StoragePermanentError(
                    f"{folder} cannot be created: {error}; free some space, or {TMPDIR_REMEDY}"
                ) from error
            yield str(folder)
        finally:
            _remove(lock.name)


def _remove_stale(parent: Path) -> None:
    """Removes folders whose process was killed."""
    for path in parent.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError), path.open("rb") as lock:
            if _is_stale(lock):
                _remove(path)


def _is_stale(lock: IO[bytes]) -> bool:
    """Returns whether the process of a lock file has ended; False if that cannot be determined.

    Raises:
        OSError: The file is locked, or its file system has no locks.
    """
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # a mount whose locks do not work between hosts grants one lock to each host
    return lock.read() == socket.gethostname().encode()


def _remove(lock: str | os.PathLike[str]) -> None:
    shutil.rmtree(_folder_of(lock), ignore_errors=True)
    with suppress(OSError):
        os.remove(lock)


def _folder_of(lock: str | os.PathLike[str]) -> Path:
    return Path(os.fspath(lock).removesuffix(_LOCK))
