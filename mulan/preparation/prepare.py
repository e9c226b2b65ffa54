"""The making of a corpus after its plan: the shards that are missing, and then the index.

A call that is interrupted leaves whole shards and no index; the same call again makes what is missing. The corpus
depends on the sources and settings alone: not on how often a call was interrupted, nor on the number of processes.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mulan.data.corpus.index import SCHEMA, write_index
from mulan.preparation.locations import MISSING_FILE, UNREADABLE_FILE
from mulan.preparation.pipeline import make_shards
from mulan.preparation.plan import Preparation, PreparationPlan
from mulan.preparation.report import check_usable, report
from mulan.preparation.selection import kept, select
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
    rows = select(workspace.read_results(plan.chunks), preparation.exclusions, preparation.config.duplicates)
    _retry_unread(workspace, plan, rows)
    result = report(plan, rows)
    check_usable(workspace.uri, plan, rows, preparation.config.max_left_out)
    workspace.write_recordings(rows)
    workspace.write_report(result)
    table = pa.concat_tables([kept(rows).select(SCHEMA.names), plan.rows])
    # the names of shards that are made here have the digest of their recordings
    write_index(table, workspace.uri, content_sha256=plan.adopted_sha256)
    workspace.remove_chunks()
    workspace.remove_leftovers(plan.chunks, adopted=set(plan.rows["uri"].unique().to_pylist()))
    return result


def _retry_unread(workspace: Workspace, plan: PreparationPlan, rows: pa.Table) -> None:
    """Lets the next call make those chunks again of which files could not be read, as nothing else tells that they can:
    a disk that is mounted again, or other permissions, do not change the version of a file."""
    unread = pc.is_in(rows["reason"], pa.array([MISSING_FILE, UNREADABLE_FILE]))
    shards = set(rows["uri"].filter(unread).unique().to_pylist())
    workspace.remove_results(chunk for chunk in plan.chunks if chunk.shard_name in shards)
