"""Reuse of freed memory for the buffers of the next micro-batch, by settings of glibc's allocator.

By default glibc returns the buffers of every micro-batch to the kernel, which has to clear their pages for the next
one. Other C libraries have no such settings.
"""

import ctypes
from functools import cache

_KEPT_BYTES = 2**28

KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES)}
"""Environment variables with which a process keeps up to 256 MiB of freed memory. glibc reads them when a process
starts, so they must be in the ``runtime_env`` of a Ray worker."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, as in glibc's ``malloc.h``."""


@cache
def keep_freed_memory() -> None:
    """Applies the settings of :data:`KEEP_FREED_MEMORY` to this process.

    Processes that are forked need this, because they do not read the environment variables.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
