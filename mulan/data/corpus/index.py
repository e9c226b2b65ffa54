"""A corpus: the rows of its index, which locate recordings in its shards."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.config.sections import STORED_SOURCES, Source
from mulan.data.corpus.index_opening import open_index
from mulan.data.errors import CorpusError
from mulan.storage import filesystem

_BLOCK = 2**20
"""Number of rows of which something is computed at a time."""
_MAX_ROWS = 2**32
"""Maximum number of rows, which are counted by 32-bit integers."""


class Location(NamedTuple):
    """Where the tar members of a recording are, and how its texts are read."""

    uri: str
    """Absolute path or URI of the shard."""
    offset: int
    """Offset in bytes of the first members."""
    length: int
    """Length in bytes of these members, including their headers."""
    further_ranges: tuple[int, ...] = ()
    """Offset, length, offset, length, ... of members that are not adjacent to the others."""
    fields: str = ""
    """JSON of the :class:`mulan.data.corpus.fields.Fields` that say which fields are texts and tags; empty for JSON as
    mulan writes it."""

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Offset and length of all ranges. The members of a recording are their concatenation."""
        further = zip(self.further_ranges[::2], self.further_ranges[1::2], strict=True)
        return [(self.offset, self.length), *further]

    def offset_in_shard(self, start: int) -> int:
        """Returns the offset in the shard of byte ``start`` of the concatenated ranges.

        Example:
            >>> Location("a.tar", 512, 1024, (4096, 1024)).offset_in_shard(1536)
            4608
        """
        for offset, length in self.ranges:
            if start < length:
                return offset + start
            start -= length
        raise ValueError(f"the ranges have {start} bytes less")


@dataclass(frozen=True)
class Corpus:
    """A folder of shards and its index."""

    uri: str
    table: pa.Table
    """The index: columns of :data:`mulan.data.corpus.index_columns.OPENED_SCHEMA`, each of one chunk; ``fields`` and
    ``further_ranges`` are missing if they have no values. That of a large corpus is mapped from a file."""
    index_sha256: str
    """SHA-256 of ``index.parquet`` in hexadecimal, which is the same for copies of the corpus. It covers the content of
    shards that mulan has written, and the headers and texts of adopted ones. It also covers absolute URIs of shards,
    which do not depend on the location of the index: rewriting them changes the digest."""
    at_most: Mapping[str, int] = field(default_factory=dict)
    """Number of recordings to which :meth:`with_at_most` has reduced splits."""

    @classmethod
    def open(cls, uri: str) -> Self:
        """Opens and checks ``URI/index.parquet``.

        Raises:
            CorpusError: There is no index, or it lacks columns or has invalid rows; lists all faults.
            StorageError, StoragePermanentError: The storage cannot be read.
        """
        uri = filesystem.absolute(uri)  # it is passed to processes with other working folders
        opened = open_index(uri)
        if opened.table.num_rows >= _MAX_ROWS:
            raise CorpusError(
                uri, [f"the index has {opened.table.num_rows} rows, and at most {_MAX_ROWS - 1} are read"]
            )
        return cls(uri, opened.table, opened.sha256)

    @property
    def recordings(self) -> int:
        """Number of recordings of all splits."""
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.Array:
        """Returns a column of the index, without a copy."""
        return self.table[name].chunk(0)  # combine_chunks would copy it

    def rows(self, split: str) -> np.ndarray:
        """Returns the rows of a split in the order of the index, uint32 [n]."""
        column = self.column("split")
        codes, names = column.indices.to_numpy(), column.dictionary.to_pylist()
        code = names.index(split) if split in names else -1
        return _rows_where(lambda block: codes[block] == code, self.recordings)

    def rows_by_source(self, split: str) -> dict[Source, np.ndarray]:
        """Returns, for each text source, the rows of the split's recordings with texts of that source, uint32 [n].

        The recordings of the source ``tags`` are those with tags.
        """
        rows, ends = self.rows(split), self.column("tags").offsets.to_numpy()
        found: dict[Source, np.ndarray] = {source: self._with_texts_of(source, rows) for source in STORED_SOURCES}
        return {**found, "tags": _those(rows, lambda some: ends[some] < ends[some + np.uint32(1)])}

    def _with_texts_of(self, source: Source, rows: np.ndarray) -> np.ndarray:
        column = self.column("sources")
        codes = column.indices.to_numpy()
        has_texts = np.array([source in names for names in column.dictionary.to_pylist()])
        return _those(rows, lambda some: has_texts[codes[some]]) if has_texts.any() else rows[:0]

    def with_at_most(self, count: int, split: str) -> "Corpus":
        """Returns the corpus with at most this number of recordings of a split.

        Those with the smallest digests of their ids are taken, as if they were drawn at random, whatever the order of
        the index; of a larger number all that a smaller one takes.
        """
        rows = self.rows(split)
        if len(rows) <= count:
            return self
        blocks = (self.recording_ids(rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK))
        order = np.argsort(np.concatenate(list(map(_digests, blocks))), kind="stable")
        left_out = np.zeros(self.recordings, bool)
        left_out[rows[order[count:]]] = True
        table = self.table.take(pa.array(_rows_where(lambda block: ~left_out[block], self.recordings)))
        return Corpus(self.uri, table, self.index_sha256, {**self.at_most, split: count})

    def has_tag_with(self, prefix: str) -> np.ndarray:
        """Returns whether each recording has a tag that begins with a prefix, bool [rows]."""
        column = self.column("tags")
        items, ends = column.flatten(), column.offsets.to_numpy()
        begins = np.array([tag.startswith(prefix) for tag in items.dictionary.to_pylist()], bool)
        has_tag = np.zeros(self.recordings, bool)
        for start in range(0, self.recordings, _BLOCK):
            block = ends[start : start + _BLOCK + 1] - ends[0]
            found = np.concatenate([[0], np.cumsum(begins[items.indices.to_numpy()[block[0] : block[-1]]])])
            has_tag[start : start + _BLOCK] = found[block[1:] - block[0]] > found[block[:-1] - block[0]]
        return has_tag

    def tags(self) -> list[str]:
        """Returns the distinct tags of all recordings, in no particular order."""
        items = self.column("tags").flatten()
        return [str(tag) for tag in pc.unique(items).to_pylist()]

    def shards(self) -> list[str]:
        """Returns the URIs of the shards, in no particular order."""
        return [filesystem.resolve(self.uri, uri) for uri in self.column("uri").dictionary.to_pylist()]

    def recording_ids(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """Returns the recording ids of rows of the index."""
        return [str(name) for name in self._taken(["recording_id"], rows)["recording_id"].to_pylist()]

    def locations(self, rows: np.ndarray | Sequence[int]) -> list[Location]:
        """Returns where the tar members of rows of the index are. :func:`mulan.data.corpus.records.read_fragments`
        reads them."""
        present = [name for name in Location._fields if name in self.table.column_names]
        columns = {name: column.to_pylist() for name, column in self._taken(present, rows).items()}
        columns["uri"] = [filesystem.resolve(self.uri, uri) for uri in columns["uri"]]
        if "further_ranges" in columns:
            columns["further_ranges"] = list(map(tuple, columns["further_ranges"]))
        return [Location(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def _taken(self, names: Sequence[str], rows: np.ndarray | Sequence[int]) -> dict[str, pa.Array]:
        taken = pa.array(np.asarray(rows, np.int64))
        return {name: self.column(name).take(taken) for name in names}


def _digests(names: Sequence[str]) -> np.ndarray:
    """Returns a 64-bit digest of each name, uint64 [n]."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, ">u8")


def _rows_where(mask: Callable[[slice], np.ndarray], count: int) -> np.ndarray:
    """Returns the rows of ``count`` of which a mask is true, which is computed for a block of them at a time."""
    blocks = (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))
    return _joined((np.flatnonzero(mask(block)) + block.start for block in blocks), count)


def _those(rows: np.ndarray, mask: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns those of the rows of which a mask is true, which is computed for a block of them at a time."""
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    return _joined((block[mask(block)] for block in blocks), len(rows))


def _joined(blocks: Iterable[np.ndarray], max_rows: int) -> np.ndarray:
    """Joins blocks of rows, uint32 [n], without holding all of them twice if there are ``max_rows``."""
    rows, count = np.empty(max_rows, np.uint32), 0
    for block in blocks:
        rows[count : count + len(block)] = block
        count += len(block)
    return rows if count == max_rows else rows[:count].copy()
