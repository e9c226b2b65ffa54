"""Memory that a process decodes into or computes in, kept for the next piece of work."""

import ctypes
from functools import cache

_KEPT_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in glibc's ``malloc.h``."""


@cache
def keep_freed_memory() -> None:
    """Lets this process keep up to 256 MiB that it has freed; once is enough.

    Otherwise glibc hands the buffers of every micro-batch, or of every part that is rendered, back to the kernel, which
    has to clear the pages anew for the next one. Other C libraries have no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
