"""The Ray Data pipeline of a preparation: each chunk of recordings becomes a shard, in tasks and pools of actors.

Without a music detector and a classifier of texts, a chunk is one task, which holds one recording at a time. With them,
a task decodes the chunk, actors that hold the models for the whole execution judge it, and a further task writes it.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

from mulan.config.errors import MulanError
from mulan.data.ray_data_output import quiet_ray_data
from mulan.preparation.chunks import Chunk
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.shards import DecodedRecording, decoded, write_shard
from mulan.preparation.workspace import Workspace

if TYPE_CHECKING:
    from mulan.preparation.judges import Judge, JudgeSpec

_CHUNKS_AT_ONCE = 1024
"""Number of chunks of an execution of Ray Data, which creates all tasks of an execution before the first one runs."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class FinishedChunk:
    """A chunk whose shard is written."""

    recordings: int
    """Number of its recordings."""
    kept: int
    """Number of those that are not left out."""


class ChunkFailed(MulanError):
    """Raised when a chunk could not be prepared, with the message and exit code of the error in its process."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type["ChunkFailed"], tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


def make_shards(
    chunks: Sequence[Chunk], workspace: Workspace, config: PreparationConfig, *, restart_actors: bool
) -> Iterator[FinishedChunk]:
    """Makes the shard of each chunk, in any order, on all CPUs of the cluster, and reports each one that is done.

    Ray must be initialised.

    Args:
        chunks: The chunks, which :func:`mulan.preparation.plan.plan` has written.
        workspace: The folder of the corpus.
        config: The settings.
        restart_actors: Restart an actor on another node when its node is lost. Ray then prints a line about
            ``max_restarts > 0`` for each pool (ray-project/ray#57733), which does not apply while this process lives.

    Raises:
        ChunkFailed: A chunk could not be prepared. Finished chunks are kept.
    """
    for first in range(0, len(chunks), _CHUNKS_AT_ONCE):
        with quiet_ray_data() as context:
            context.target_max_block_size = None  # the recordings of a chunk stay together
            context.execution_no_progress_timeout_s = -1  # a chunk of long recordings may take minutes
            yield from _execute(chunks[first : first + _CHUNKS_AT_ONCE], workspace, config, restart_actors)


def _execute(
    chunks: Sequence[Chunk], workspace: Workspace, config: PreparationConfig, restart_actors: bool
) -> Iterator[FinishedChunk]:
    work = ray.put((list(chunks), workspace, config))
    dataset = ray.data.range(len(chunks), override_num_blocks=len(chunks))
    if not (config.music.tagger or config.text.filter):
        dataset = dataset.map_batches(_prepare, batch_size=None, fn_args=([work],))
    else:
        from mulan.preparation.judges import judges_of

        dataset = dataset.map_batches(_decode, batch_size=None, fn_args=([work],))
        for spec in judges_of(config):
            dataset = dataset.map_batches(
                _Judging,
                batch_size=None,
                fn_constructor_args=(spec,),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(chunks)),
                **({"num_gpus": 1, "num_cpus": 0} if spec.use_gpu else {"num_cpus": 1}),
                **({} if restart_actors else {"max_restarts": 0}),
            )
        dataset = dataset.map_batches(_write, batch_size=None, fn_args=([work],))
    try:
        for row in dataset.iter_rows():
            if row["error"]:
                raise ChunkFailed(str(row["error"]), int(row["exit_code"]))
            yield FinishedChunk(int(row["recordings"]), int(row["kept"]))
    except (OutOfMemoryError, RayActorError, WorkerCrashedError) as error:
        reason = str(error).splitlines()[0]
        raise ChunkFailed(
            f"a process that prepares recordings for {workspace.uri} ended: {reason} It may have run out of memory: "
            "lower recordings_per_shard, and repeat the command, which continues",
            exit_code=1,
        ) from error


def prepare_chunk(
    chunk: Chunk, workspace: Workspace, config: PreparationConfig, judges: Sequence["Judge"] = ()
) -> pa.Table:
    """Makes the shard of a chunk in this process, and returns a row for each of its recordings.

    Args:
        chunk: The chunk, which :func:`mulan.preparation.plan.plan` has written.
        workspace: The folder of the corpus.
        config: The settings.
        judges: The judges of the settings.

    Raises:
        StorageError, StoragePermanentError: The storage of the audio or of the corpus failed.
    """
    recordings = decoded(workspace.read_chunk(chunk), config.clip)
    for judge in judges:
        recordings = map(partial(_judged, judge), recordings)
    return _write_shard(recordings, chunk, workspace)


def _judged(judge: "Judge", recording: DecodedRecording) -> DecodedRecording:
    return judge(recording) if recording.clip else recording


def _write_shard(recordings: Iterable[DecodedRecording], chunk: Chunk, workspace: Workspace) -> pa.Table:
    rows = write_shard(recordings, chunk, workspace.uri)
    workspace.write_result(chunk, rows)
    return rows


def _prepare(batch: Batch, work: list["ray.ObjectRef[Any]"]) -> Batch:
    chunks, workspace, config = ray.get(work[0])
    (number,) = batch["id"]
    try:
        return _done(prepare_chunk(chunks[number], workspace, config))
    except MulanError as error:
        return _failed(error)


def _decode(batch: Batch, work: list["ray.ObjectRef[Any]"]) -> Batch:
    chunks, workspace, config = ray.get(work[0])
    (number,) = batch["id"]
    try:
        recordings = list(decoded(workspace.read_chunk(chunks[number]), config.clip))
        return {"id": batch["id"], "recordings": np.array([pickle.dumps(recordings)], object)} | _NO_ERROR
    except MulanError as error:
        return {"id": batch["id"], "recordings": np.array([b""], object)} | _error(error)


class _Judging:
    """Judges the recordings of chunks. Each actor of a pool holds an instance, so that it loads the model once."""

    def __init__(self, spec: "JudgeSpec") -> None:
        self._judge: Judge | None = None
        self._failure: MulanError | None = None
        try:
            self._judge = spec.load(spec.section)
        except MulanError as error:  # an actor that raises it is reported as one that died
            self._failure = error

    def __call__(self, batch: Batch) -> Batch:
        (content,) = batch["recordings"]
        if not content:  # decoding failed
            return batch
        recordings = pickle.loads(content)  # written by another process of this job
        try:
            if self._judge is None:
                raise self._failure or AssertionError("without a judge there is a failure")
            judged = [_judged(self._judge, recording) for recording in recordings]
        except MulanError as error:
            return {"id": batch["id"], "recordings": np.array([b""], object)} | _error(error)
        return batch | {"recordings": np.array([pickle.dumps(judged)], object)}


def _write(batch: Batch, work: list["ray.ObjectRef[Any]"]) -> Batch:
    (number,), (content,) = batch["id"], batch["recordings"]
    if not content:
        return _NOTHING | {name: batch[name] for name in _NO_ERROR}
    chunks, workspace, _ = ray.get(work[0])
    try:
        return _done(_write_shard(pickle.loads(content), chunks[number], workspace))  # written as above
    except MulanError as error:
        return _failed(error)


_NO_ERROR: Batch = {"error": np.array([""], object), "exit_code": np.array([0])}
_NOTHING: Batch = {"recordings": np.array([0]), "kept": np.array([0])}


def _done(rows: pa.Table) -> Batch:
    kept = pc.sum(pc.equal(rows["reason"], "")).as_py()
    return {"recordings": np.array([rows.num_rows]), "kept": np.array([kept])} | _NO_ERROR


def _failed(error: MulanError) -> Batch:
    return _NOTHING | _error(error)


def _error(error: MulanError) -> Batch:
    return {"error": np.array([str(error)], object), "exit_code": np.array([error.exit_code])}
