"""Temporary folders as large as a checkpoint, which do not outlive the process that made them by long."""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mulan.data.storage_errors import StorageRefused

PLACE = "name another folder by TMPDIR, one of this machine's own"
_PREFIX, _LOCK = "mulan_checkpoint_", ".lock"


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Makes a folder that is removed when the block ends or, if this process is killed, by the next one made here.

    A folder is in use as long as the file of its name with ``.lock`` is locked (``flock``), which the system ends with
    the process. Processes that share TMPDIR from other containers or hosts leave each other's alone.

    Raises:
        StorageRefused: there is no place for one.
    """
    try:
        _remove_left(Path(tempfile.gettempdir()))
        made = tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=_LOCK, delete=False)  # noqa: SIM115
    except OSError as error:
        raise StorageRefused(f"there is no place for temporary files: {error}; make room, or {PLACE}") from error
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
                raise StorageRefused(f"{folder} cannot be made: {error}; make room, or {PLACE}") from error
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
