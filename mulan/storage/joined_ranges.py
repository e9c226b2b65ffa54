"""Reading of byte ranges from object stores, those that are near each other in one request."""

from bisect import bisect_right
from collections.abc import Sequence

import fsspec
from fsspec.utils import merge_offset_ranges

MAX_GAP_BYTES = 2**17
"""Maximum number of bytes between two ranges that are read in one request: a request costs more than to read them."""

MAX_JOINED_BYTES = 2**23
"""Maximum size in bytes of a request for several ranges: more is faster in several connections."""


def join_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Returns the requests for ranges, by path and offset; both are given by path, offset and length in bytes."""
    columns = [(path, start, start + length) for path, start, length in ranges]
    paths, starts, ends = map(list, zip(*columns, strict=True))
    joined = merge_offset_ranges(paths, starts, ends, max_gap=MAX_GAP_BYTES, max_block=MAX_JOINED_BYTES)
    return [(path, start, end - start) for path, start, end in zip(*joined, strict=True)]


def read_joined(fs: fsspec.AbstractFileSystem, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
    """Reads ranges, given by path, offset and length in bytes, concurrently where the file system supports that.

    Returns:
        The bytes of each range, truncated at the end of its file, or the error of the request for it.
    """
    joined = join_ranges(ranges)
    contents = [
        b"" if _is_beyond_end(content) else content
        for content in fs.cat_ranges(
            [path for path, _, _ in joined],
            [start for _, start, _ in joined],
            [start + length for _, start, length in joined],
            on_error="return",
        )
    ]
    begins = [(path, start) for path, start, _ in joined]
    results: list[bytes | Exception] = []
    for path, start, length in ranges:
        number = bisect_right(begins, (path, start)) - 1
        content, first = contents[number], start - begins[number][1]
        results.append(content if isinstance(content, Exception) else content[first : first + length])
    return results


def _is_beyond_end(result: bytes | Exception) -> bool:
    """Returns whether a result is S3's error for a range beyond the end of a file; other storage returns no bytes."""
    response = getattr(result.__cause__, "response", {}) if isinstance(result, OSError) else {}
    return response.get("Error", {}).get("Code") in ("InvalidRange", "416")
