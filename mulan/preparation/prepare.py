"""The making of a corpus after its plan: the shards that are missing, and then the index.

A call that is interrupted leaves whole shards and no index; the same call again makes what is missing. The corpus
depends on the sources and settings alone: not on how often a call was interrupted, nor on the number of processes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mulan.data.corpus.index_rows import SCHEMA, write_index
from mulan.data.corpus.row_spool import RowSpool
from mulan.preparation.locations import MISSING_FILE, UNREADABLE_FILE
from mulan.preparation.pipeline import make_shards
from mulan.preparation.plan import Preparation, PreparationPlan
from mulan.preparation.report import check_usable, report
from mulan.preparation.selection import SelectedResults, kept
from mulan.preparation.shards import RESULT_SCHEMA
from mulan.preparation.workspace import Workspace

OnProgress = Callable[[int, int], None]
"""Called with the numbers of finished and of all recordings."""


def make_corpus(
    preparation: Preparation, plan: PreparationPlan, *, on_progress: OnProgress, restart_actors: bool = False
) -> dict[str, Any]:
    """Makes the missing shards, and then the index.

    Ray must be initialised, unless no shard is missing.

    Args:
        preparation: What is prepared.
        plan: What :func:`mulan.preparation.plan.plan` has returned with ``write``.
        on_progress: Called whenever a shard is finished.
        restart_actors: As of :func:`mulan.preparation.pipeline.make_shards`.

    Returns:
        The report, which is also written to the folder of the corpus.

    Raises:
        ChunkFailed: A shard could not be made; those that exist are kept.
        PreparationRefused: Too many recordings cannot be used, or none can.
        WorkspaceChanged: A result has vanished or is damaged; the same command makes it again.
        StorageError, StoragePermanentError: The folder of the corpus cannot be read or written.
    """
    workspace = preparation.workspace
    total = sum(chunk.recordings for chunk in plan.missing)
    done = 0
    if plan.missing:
        workspace.remove_index_of(plan.missing)
        for progress in make_shards(plan.missing, workspace, preparation.config, restart_actors=restart_actors):
            done += progress.recordings
            on_progress(done, total)
    results = RowSpool(RESULT_SCHEMA)
    for rows in workspace.read_results(plan.chunks):
        results.add(rows)
    selection = SelectedResults(results, preparation.exclusions, preparation.config.duplicates)
    _retry_unread(workspace, plan, results)
    result = report(plan, selection)
    check_usable(workspace.uri, plan, result, preparation.config.max_left_out)
    workspace.write_recordings(selection)
    workspace.write_report(result)
    # the names of shards that are made here have the digest of their recordings
    write_index(_Indexed(selection, plan.rows), workspace.uri, content_sha256=plan.adopted_sha256)
    workspace.remove_chunks()
    adopted = {uri for rows in plan.rows for uri in rows["uri"].unique().to_pylist()}
    workspace.remove_leftovers(plan.chunks, adopted=adopted)
    return result


class _Indexed:
    """The rows of the index, in parts: those of shards that are made here, and then those of adopted tars."""

    def __init__(self, selection: SelectedResults, adopted: RowSpool) -> None:
        self._selection, self._adopted = selection, adopted

    def __iter__(self) -> Iterator[pa.Table]:
        yield from (kept(rows).select(SCHEMA.names) for rows in self._selection)
        yield from self._adopted


def _retry_unread(workspace: Workspace, plan: PreparationPlan, results: RowSpool) -> None:
    """Lets the next call make those chunks again of which files could not be read, as nothing else tells that they can:
    a disk that is mounted again, or other permissions, do not change the version of a file."""
    shards: set[str] = set()
    for rows in results:
        unread = pc.is_in(rows["reason"], pa.array([MISSING_FILE, UNREADABLE_FILE]))
        shards |= set(rows["uri"].filter(unread).to_pylist())
    workspace.remove_results(chunk for chunk in plan.chunks if chunk.shard_name in shards)
