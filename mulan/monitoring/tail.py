"""The last lines of JSON-lines files of a run, read by ranges, however long the files are."""

from collections.abc import Mapping, Sequence
from typing import Any

from mulan.storage import filesystem
from mulan.storage.jsonl import parts_among
from mulan.storage.line_values import parsed_line
from mulan.storage.listing import FolderEntry

_BYTES = 32 * 1024
"""Number of bytes that are read at the end of a file: about 50 lines of metrics."""

Lines = list[dict[str, Any]]


def read_tails(
    run_uri: str, entries: Mapping[str, FolderEntry], stems: Sequence[str], further: Sequence[str] = ()
) -> tuple[dict[str, Lines], dict[str, bytes]]:
    """Reads the ends of JSON-lines files, and the beginnings of further files, in one round of concurrent requests.

    Args:
        run_uri: The folder.
        entries: Its listing, which knows the sizes.
        stems: Names of JSON-lines files without ``.jsonl``; a file may be continued in ``STEM.0001.jsonl`` and so on.
        further: Names of small files.

    Returns:
        The last lines by stem, without those that are damaged, and the contents of the further files that exist.

    Raises:
        StorageError, StoragePermanentError: The storage does not respond, or nothing can be read.
    """
    parts = {stem: parts_among(entries, f"{stem}.jsonl")[-2:] for stem in stems}  # the newest part may have just begun
    names = [name for of_stem in parts.values() for name in of_stem]
    starts = [max(0, entries[name].size - _BYTES) for name in names]
    uris = [filesystem.join(run_uri, name) for name in [*names, *further]]
    lengths = [_BYTES] * len(uris)
    contents = filesystem.read_ranges(uris, [*starts, *(0 for _ in further)], lengths)
    found = dict(zip([*names, *further], contents, strict=True))
    begun = dict(zip(names, starts, strict=True))
    lines = {
        stem: [line for name in of_stem for line in _whole_lines(found[name], begun[name])]
        for stem, of_stem in parts.items()
    }
    return lines, {name: each for name in further if isinstance(each := found[name], bytes)}


def _whole_lines(content: bytes | Exception, start: int) -> Lines:
    if isinstance(content, Exception):  # removed meanwhile
        return []
    whole = content[: content.rfind(b"\n") + 1].split(b"\n")[1 if start else 0 : -1]
    return [line for each in whole if (line := parsed_line(each)) is not None]
