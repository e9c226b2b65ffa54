"""The recordings of all shards that become the corpus: those that are usable, not excluded, and no copies of others."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from mulan.preparation.duplicates import exact_duplicates
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.settings import DuplicateConfig
from mulan.preparation.shards import RESULT_SCHEMA

DUPLICATE_AUDIO, EXCLUDED_AUDIO = "duplicate audio", "excluded audio"
"""The reasons of a selection for leaving out recordings; their audio stays in its shard, but not in the index."""


def select(results: Iterable[pa.Table], exclusions: Exclusions, config: DuplicateConfig) -> pa.Table:
    """Returns the results of all chunks as one table, in which copies and excluded recordings are left out too.

    Args:
        results: What became of the recordings of each chunk, in the order of the corpus.

    Returns:
        A row for each recording, :data:`mulan.preparation.shards.RESULT_SCHEMA`.
    """
    rows = pa.concat_tables([RESULT_SCHEMA.empty_table(), *results]).combine_chunks()
    reasons, details = rows["reason"].to_pylist(), rows["detail"].to_pylist()
    hashes = rows["sha256"].to_pylist()
    for row, sha256 in enumerate(hashes):
        if not reasons[row] and exclusions.excludes_audio(sha256):
            reasons[row], details[row] = EXCLUDED_AUDIO, f"sha256:{sha256}"
    if config.audio:
        ids, splits = rows["recording_id"].to_pylist(), rows["split"].to_pylist()
        usable = [row for row in range(len(ids)) if not reasons[row]]
        copies = exact_duplicates((ids[row], splits[row], hashes[row]) for row in usable)
        for row in usable:
            if ids[row] in copies:
                reasons[row], details[row] = DUPLICATE_AUDIO, f"of {copies[ids[row]]}"
    for name, values in (("reason", reasons), ("detail", details)):
        column = RESULT_SCHEMA.get_field_index(name)
        rows = rows.set_column(column, RESULT_SCHEMA.field(name), pa.array(values, pa.string()))
    return rows


def kept(rows: pa.Table) -> pa.Table:
    """Returns the rows of the recordings that are not left out."""
    return rows.filter(pc.equal(rows["reason"], ""))
