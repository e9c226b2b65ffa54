"""The recordings of all shards that become the corpus: those that are usable, not excluded, and no copies of others."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.preparation.duplicates import exact_duplicates
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.settings import DuplicateConfig
from mulan.preparation.shards import RESULT_SCHEMA

DUPLICATE_AUDIO, EXCLUDED_AUDIO = "duplicate audio", "excluded audio"
"""The reasons of a selection for leaving out recordings; their audio stays in its shard, but not in the index."""


class SelectedResults:
    """The results of all chunks, in which copies and excluded recordings are left out too.

    It can be iterated over any number of times: a row for each recording, in parts,
    :data:`mulan.preparation.shards.RESULT_SCHEMA`. Finding the copies needs 8 bytes of memory for each recording, and
    what :func:`mulan.preparation.duplicates.exact_duplicates` needs for each that has copies.
    """

    def __init__(self, results: Iterable[pa.Table], exclusions: Exclusions, config: DuplicateConfig) -> None:
        """
        Args:
            results: What became of the recordings of each chunk, in the order of the corpus; iterated over repeatedly.
            exclusions: Recordings that are left out.
            config: Whether copies are left out.
        """
        self._results, self._exclusions, self._config = results, exclusions, config

    def __iter__(self) -> Iterator[pa.Table]:
        for rows in self._results:
            reasons, details = rows["reason"].to_pylist(), rows["detail"].to_pylist()
            names, hashes = rows["recording_id"].to_pylist(), rows["sha256"].to_pylist()
            for row, name in enumerate(names):
                if not reasons[row] and self._exclusions.excludes_audio(hashes[row]):
                    reasons[row], details[row] = EXCLUDED_AUDIO, f"sha256:{hashes[row]}"
                elif not reasons[row] and name in self._copies:
                    reasons[row], details[row] = DUPLICATE_AUDIO, f"of {self._copies[name]}"
            for column, values in (("reason", reasons), ("detail", details)):
                number = RESULT_SCHEMA.get_field_index(column)
                rows = rows.set_column(number, RESULT_SCHEMA.field(column), pa.array(values, pa.string()))
            yield rows

    @cached_property
    def _copies(self) -> Mapping[str, str]:
        """Ids of the copies to leave out, each with the id of the recording that is kept in its place."""
        if not self._config.audio:
            return {}
        beginnings = np.concatenate([np.zeros(0, np.uint64), *map(_beginnings, map(self._usable, self._results))])
        beginnings.sort()
        repeated = np.unique(beginnings[1:][beginnings[1:] == beginnings[:-1]])
        return exact_duplicates(self._with_beginnings(repeated))

    def _with_beginnings(self, beginnings: np.ndarray) -> Iterator[tuple[str, str, str]]:
        """Yields id, split and hash of the usable recordings whose hash begins like this."""
        for usable in map(self._usable, self._results):
            some = usable.filter(pa.array(np.isin(_beginnings(usable), beginnings)))
            yield from zip(*(some[name].to_pylist() for name in ("recording_id", "split", "sha256")), strict=True)

    def _usable(self, rows: pa.Table) -> pa.Table:
        usable = kept(rows)
        excluded = [self._exclusions.excludes_audio(sha256) for sha256 in usable["sha256"].to_pylist()]
        return usable.filter(pa.array(np.logical_not(excluded), pa.bool_()))


def kept(rows: pa.Table) -> pa.Table:
    """Returns the rows of the recordings that are not left out."""
    return rows.filter(pc.equal(rows["reason"], ""))


def _beginnings(rows: pa.Table) -> np.ndarray:
    """Returns the first 64 bits of each hash, uint64 [n]."""
    return np.array([int(sha256[:16], 16) for sha256 in rows["sha256"].to_pylist()], np.uint64)
