"""A file of which only the requested ranges of bytes are read, with retries, locally or on any storage of fsspec."""

import io
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from fsspec.implementations.local import LocalFileSystem

from mulan.storage.filesystem import url_to_fs
from mulan.storage.retries import with_retries

_SLACK = 128
"""Number of bytes that are read ahead in addition: the start of a member, beyond its header, may be wanted too."""
_MIN_READ, _MAX_AHEAD = 512 + _SLACK, 8192
"""Minimum size in bytes of a request, for the header of a tar member; and maximum read-ahead."""


class RangedFile(io.RawIOBase):
    """A file whose content is read in small requests, for formats whose readers skip nearly everything, such as tars.

    After a jump, a request reads as far ahead as the earlier reads between two jumps went, so that in a file of equal
    parts each part costs one request and hardly any byte that is not used. Not for several threads at once.
    """

    def __init__(self, uri: str) -> None:
        """
        Args:
            uri: Path or URI of the file.

        Raises:
            FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
            StorageError, StoragePermanentError: The file cannot be read.
        """
        super().__init__()
        self._what = f"{uri} cannot be read"
        self._stack = ExitStack()
        self._request, self.size = self._opened(uri)
        self.bytes_read = 0
        """Number of bytes that were read from the storage."""
        self.requests = 0
        """Number of requests to the storage."""
        self._position = 0
        self._start, self._buffer = 0, b""
        self._jumped_to, self._ahead = 0, _MIN_READ

    def _opened(self, uri: str) -> tuple[Callable[[int, int], bytes], int]:
        """Returns a function that reads a range, given by start and end in bytes, and the size of the file."""
        fs, path = url_to_fs(uri)
        if isinstance(fs, LocalFileSystem):
            file = self._stack.enter_context(with_retries(self._what, open, path, "rb", buffering=0))
            return partial(_read_local, file.fileno()), os.fstat(file.fileno()).st_size
        return partial(_read_remote, fs, path), int(with_retries(self._what, fs.size, path))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads at most ``size`` bytes, fewer only at the end of the file.

        Raises:
            StorageError: The storage kept failing until the retries timed out.
            StoragePermanentError: The storage failed permanently.
        """
        size = self.size if size is None or size < 0 else size
        content = self._bytes(self._position, min(self._position + size, self.size))
        self._position += len(content)
        return content

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read_at(self, start: int, size: int) -> bytes:
        """Reads a range with no read-ahead, and without moving the position; truncated at the end of the file.

        Raises:
            StorageError, StoragePermanentError: As in :meth:`read`.
        """
        return self._fetch(start, min(start + size, self.size))

    def buffered(self, start: int, size: int) -> bytes:
        """Returns those of ``size`` bytes from ``start`` on that need no request, because they were read ahead."""
        first = start - self._start
        return self._buffer[first : first + size] if first >= 0 else b""

    def close(self) -> None:
        self._stack.close()
        super().close()

    def _bytes(self, start: int, end: int) -> bytes:
        buffered = self._start + len(self._buffer)
        if start >= end:
            return b""
        if not self._start <= start <= buffered + _MIN_READ:
            used = self._last_used - self._jumped_to + _SLACK
            self._ahead = min(_MAX_AHEAD, max(_MIN_READ, used, (used + self._ahead) // 2))
            self._jumped_to = start
            self._start, self._buffer = start, self._fetch(start, max(end, start + self._ahead))
        elif start > buffered:
            self._start, self._buffer = start, self._fetch(start, max(end, start + _MIN_READ))
        elif end > buffered:
            rest = self._fetch(buffered, max(end, buffered + _MIN_READ))
            self._start, self._buffer = start, self._buffer[start - self._start :] + rest
        self._last_used = end
        return self._buffer[start - self._start : end - self._start]

    _last_used = 0
    """End of the last read in bytes."""

    def _fetch(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        try:
            content = self._request(start, end)
        except Exception:  # the retries themselves would take longer than a read from a local disk
            content = with_retries(self._what, self._request, start, end)
        self.requests += 1
        self.bytes_read += len(content)
        return content


def _read_local(descriptor: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(descriptor, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _read_remote(fs: object, path: str, start: int, end: int) -> bytes:
    return bytes(fs.cat_file(path, start=start, end=end))  # type: ignore[attr-defined]
