"""The cache of this machine: files that its processes share, in the folder of the environment variable ``MULAN_CACHE``;
by default in ``~/.cache/mulan``."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mulan.config.paths import absolute

CACHE_VARIABLE = "MULAN_CACHE"
"""Environment variable that names the folder of the cache."""


def cache_folder(kind: str) -> Path:
    """Returns the folder of one kind of cached files, which need not exist.

    Raises:
        RuntimeError: The variable is not set, and this user has no home folder.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(absolute(configured) if configured else Path.home() / ".cache" / "mulan") / kind


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive file lock, which the system releases when the process ends for any reason.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
