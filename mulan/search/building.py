"""Making an index from embeddings, and changing it: recordings are added, replaced and deleted without a rebuild."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingModel
from mulan.search.errors import UnusableIndex
from mulan.search.manifest import MANIFEST_NAME, IndexManifest
from mulan.search.overview import Overview
from mulan.search.rows import DETAILS, DIGEST, VECTOR, WINDOWS, details, digests, row_schema
from mulan.search.summary import overview_of
from mulan.search.table import RecordingTable
from mulan.storage import filesystem

APPROXIMATE_ABOVE = 200_000
"""Default number of recordings above which searches are approximate. Below it, exact ones need no more memory than the
vectors, and are as fast."""
_ROWS_OF_A_CHANGE = 20_000
"""Number of rows that are added in one change, each of which makes files of its own."""
_IDS_AT_ONCE = 1000

OnProgress = Callable[[int, int], None]
"""Called with the numbers of finished and of all recordings."""


@dataclass(frozen=True)
class Change:
    """What a change of an index has done."""

    added: int = 0
    """Number of recordings that were added, or replaced because something of them had changed."""
    unchanged: int = 0
    """Number of recordings that were there already."""
    deleted: int = 0
    """Number of recordings that were deleted."""
    recordings: int = 0
    """Number of recordings afterwards."""
    is_approximate: bool = False
    """Whether searches are approximate."""


def add_to_index(
    uri: str,
    embeddings: CollectionEmbeddings,
    *,
    approximate_above: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Change:
    """Adds the recordings of embeddings to an index, which is made if there is none.

    Recordings that are in the index and not in the embeddings stay; those that have changed are replaced. An
    interruption leaves the recordings that were added so far, and a repetition adds the others; before the first
    addition is complete, there is no index.

    Args:
        uri: Folder of the index.
        embeddings: Finished embeddings of a joint model.
        approximate_above: Number of recordings above which searches are approximate; None for that of the index, or
            :data:`APPROXIMATE_ABOVE` for a new one.
        on_progress: Called after each batch of recordings.

    Raises:
        UnusableIndex: The index is of another model or has no windows, or the model embeds no text.
        EmbeddingsError: A file of the embeddings is damaged.
        StorageError: The storage of one of them failed.
    """
    check_indexable(embeddings.model)
    if filesystem.exists(filesystem.join(uri, MANIFEST_NAME)):
        return _add(uri, embeddings, approximate_above, on_progress)
    manifest = IndexManifest(
        model=embeddings.model,
        windows=embeddings.has_windows,
        approximate_above=APPROXIMATE_ABOVE if approximate_above is None else approximate_above,
    )
    schema = row_schema(embeddings.model.dim, windows=embeddings.has_windows)
    batches = _counted((_row_batch(batch, schema) for batch in embeddings.batches()), embeddings.count, on_progress)
    table = RecordingTable.create(uri, schema, batches)
    _finish(uri, table, manifest)
    manifest.write(uri)  # last: an index without it is unfinished
    return Change(added=embeddings.count, recordings=table.count(), is_approximate=table.is_approximate)


def _add(uri: str, embeddings: CollectionEmbeddings, approximate_above: int | None, on_progress: OnProgress) -> Change:
    manifest = IndexManifest.read(uri)
    manifest.check_model(embeddings.model.sha256, embeddings.model.uri, uri)
    if manifest.windows and not embeddings.has_windows:
        raise UnusableIndex(
            f"the index {uri} has the vectors of windows, and {embeddings.uri} has not; repeat "
            "jobs.embed with --windows"
        )
    if approximate_above is not None and approximate_above != manifest.approximate_above:
        manifest = manifest.replace(approximate_above=approximate_above)
        manifest.write(uri)
    table = RecordingTable.open(uri)
    schema = row_schema(embeddings.model.dim, windows=manifest.windows)
    known = np.sort(table.column(DIGEST).to_numpy())
    added = 0
    batches = (_row_batch(batch, schema) for batch in embeddings.batches())
    for batch in _in_changes(_counted(batches, embeddings.count, on_progress), known):
        table.put(batch)
        added += len(batch)
    if added or not _is_finished(uri, table, manifest):
        _finish(uri, table, manifest)
    return Change(added, embeddings.count - added, 0, table.count(), table.is_approximate)


def delete_from_index(uri: str, recording_ids: Sequence[str]) -> Change:
    """Deletes recordings from an index.

    Raises:
        UnusableIndex: There is no index, or some of the recordings are not in it; names them, and deletes none.
        StorageError: The storage failed.
    """
    manifest, table = IndexManifest.read(uri), RecordingTable.open(uri)
    if not _is_finished(uri, table, manifest):
        _finish(uri, table, manifest)
    ids = list(dict.fromkeys(recording_ids))
    known: set[str] = set()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        known.update(table.with_ids(ids[start : start + _IDS_AT_ONCE]))
    unknown = [name for name in ids if name not in known]
    if unknown:
        named = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise UnusableIndex(f"not in the index {uri}, so that nothing was deleted: {named:.1000}")
    table.delete(ids)  # in one change: after an interruption, all are there or none
    _finish(uri, table, manifest)
    return Change(deleted=len(ids), recordings=table.count(), is_approximate=table.is_approximate)


def check_indexable(model: EmbeddingModel) -> None:
    """Checks that a model's vectors can be searched by text.

    Raises:
        UnusableIndex: It embeds no text, or its vectors are not of unit length.
    """
    if not (model.embeds_text and model.is_unit):
        raise UnusableIndex(
            f"{model.uri} is no joint model of music and text, so that its vectors cannot be searched by words; embed "
            "the collection with a joint model, such as one that jobs.export has written"
        )


def _is_finished(uri: str, table: RecordingTable, manifest: IndexManifest) -> bool:
    """Returns whether what follows a change of the table was not interrupted."""
    try:
        is_overview_new = Overview.read(uri).version == table.version
    except UnusableIndex:
        return False
    return is_overview_new and table.is_approximate == (table.count() > manifest.approximate_above)


def _finish(uri: str, table: RecordingTable, manifest: IndexManifest) -> None:
    """Does what follows a change of the table: its indices, and the overview of what it has now."""
    table.index_columns(approximate_above=manifest.approximate_above)
    overview_of(table).write(uri)


def _row_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Returns rows of embeddings as rows of an index."""
    given = {name: batch[name] for name in batch.schema.names}
    columns = {name: given[name] for name in ("recording_id", "duration_s", "tags")}
    columns[VECTOR] = given["embedding"].cast(schema.field(VECTOR).type)
    starts = [b""] * len(batch)
    if WINDOWS in schema.names:
        dim = schema.field(VECTOR).type.list_size
        numbers = given["windows"].flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float16)
        ends = np.cumsum(given["windows"].value_lengths().to_numpy())
        parts = np.split(numbers.reshape(-1, dim), ends[:-1])
        columns[WINDOWS] = pa.array([part.tobytes() for part in parts], pa.binary())
        starts = [np.array(each, np.float64).tobytes() for each in given["window_starts_s"].to_pylist()]
    given |= {"waveform": given["waveform"].cast(pa.binary()), "window_starts_s": pa.array(starts, pa.binary())}
    columns[DETAILS] = details(given)
    names = [name for name in schema.names if name != DIGEST]
    without = pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)
    columns[DIGEST] = pa.array(digests(without))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _counted(batches: Iterator[pa.RecordBatch], total: int, on_progress: OnProgress) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        on_progress(done, total)


def _in_changes(batches: Iterator[pa.RecordBatch], known: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Yields the rows that are not known by their digests, as many at once as are added in one change."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        new = batch.filter(pa.array(~np.isin(batch[DIGEST].to_numpy(), known)))
        if len(new):
            waiting.append(new)
        if sum(map(len, waiting)) >= _ROWS_OF_A_CHANGE:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)
