"""Embedding of a corpus with Ray Data, by a pool of actors that hold the model.

On CPUs, each actor reads, decodes and embeds whole blocks of recordings on one CPU, so that windows are not copied to
another process, and actors on all CPUs wait for no task that needs one too. With GPUs, tasks on all CPUs read and
decode blocks for the actors, which hold a GPU each. Windows are batched across the recordings of a block.
"""

import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import ray
import ray.data
from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

from mulan.config.errors import MulanError
from mulan.data.corpus.index import Corpus
from mulan.data.ray_data_output import quiet_ray_data
from mulan.evaluation.embedding.collected import CollectedVectors, CorpusEmbeddings, VectorCollector, of_corpus
from mulan.evaluation.embedding.indexed import in_blocks, indexed_recordings
from mulan.evaluation.embedding.labels import OnProgress, no_progress
from mulan.evaluation.embedding.local import BATCHES_PER_BLOCK
from mulan.evaluation.embedding.windows import CorpusPart, WindowBatch, Windowing, WindowReading, read_windows
from mulan.evaluation.encoders.encoder import Encoder, EncoderInfo
from mulan.evaluation.errors import EmbeddingFailed
from mulan.model.inference.passes import windows_of_a_pass

_IN_FLIGHT = 2
"""Number of blocks that wait at or are in an actor; more would wait at one actor while others have nothing to do."""

Batch = tuple[int, WindowBatch | MulanError]
"""A batch with the number of its part, or the error instead of it: Ray would report one that is raised with a
traceback."""

Rows = dict[str, np.ndarray]
"""Rows with one column, ``content``: pickled objects of this module's processes."""


class EncoderOpening(Protocol):
    """Opens an encoder; it must be picklable, such as a partial of
    :func:`mulan.evaluation.encoders.registry.open_encoder`."""

    def __call__(self, *, device: str) -> Encoder:
        """Opens the encoder on ``cpu`` or ``cuda``."""


@dataclass(frozen=True)
class EmbeddedPart:
    """Recordings whose vectors are yielded together."""

    reading: WindowReading
    """How they are read."""
    blocks: Sequence[Sequence[Any]]
    """The recordings, in blocks that an actor embeds at once; those that ``reading`` opens have positions from 0 on."""

    @property
    def count(self) -> int:
        """Number of the recordings."""
        return sum(map(len, self.blocks))


@dataclass(frozen=True)
class Actors:
    """The pool of actors that embed, which grows and shrinks between its bounds."""

    use_gpu: bool = False
    """Whether each one reserves a GPU instead of a CPU."""
    on_this_machine: bool = True
    """As of :func:`embed_corpus`."""
    min_actors: int = 1
    """Minimum number, as far as there are blocks of recordings for them."""
    max_actors: int | None = None
    """Maximum number; None for no other bound than the cluster."""

    def sizes(self, *, blocks: int, available: int) -> tuple[int, int, int]:
        """Returns the minimum, the initial and the maximum number of actors.

        Args:
            blocks: Number of blocks of recordings.
            available: Number of CPUs or GPUs that the cluster has now.
        """
        most = min(blocks, self.max_actors or blocks)
        if self.on_this_machine:
            most = min(most, os.cpu_count() or 1)
        least = max(1, min(self.min_actors, most))
        return least, max(least, min(available, most)), max(least, most)


def embed_corpus(
    open_encoder: EncoderOpening,
    info: EncoderInfo,
    corpus: Corpus,
    parts: Sequence[CorpusPart],
    *,
    use_gpu: bool = False,
    on_this_machine: bool = True,
    on_progress: OnProgress = no_progress,
) -> Iterator[CorpusEmbeddings]:
    """Yields the vectors of all recordings of parts of a corpus, in the order of the parts.

    Windows are embedded on all CPUs or GPUs of the cluster; vectors do not depend on the order of the files, nor on the
    number of actors. Each actor opens the encoder once for all parts, and keeps its CPU or GPU until the iterator ends
    or is closed. The vectors of a part are yielded while those of the next ones are computed, of which few are in
    memory at once. Ray must be initialised.

    Args:
        open_encoder: Opens the encoder in each actor.
        info: What the encoder is; it embeds audio.
        corpus: A prepared corpus.
        parts: The parts.
        use_gpu: Reserve one GPU for each actor.
        on_this_machine: Whether the cluster is this machine alone. If so, there are no more actors than cores, of which
            Ray may offer more. Otherwise an actor is restarted on another node when its node is lost; Ray then prints
            a line about ``max_restarts > 0`` for each pool (ray-project/ray#57733), which does not apply while this
            process lives.
        on_progress: Called after each batch of windows with the numbers of finished recordings and of all, each counted
            once for each part.

    Raises:
        EvaluationError: A split has no recordings, or vectors are not finite.
        EncoderError: The encoder cannot be opened, or returns something else than vectors.
        EmbeddingFailed: A process ended, and it was not restarted.
        StorageError, StoragePermanentError: The storage of the corpus failed.
    """
    recordings = {split: indexed_recordings(corpus, [split]) for split in {part.split for part in parts}}
    windows = BATCHES_PER_BLOCK * windows_of_a_pass("cuda" if use_gpu else "cpu", info.window_samples)
    window_s = info.window_samples / info.sample_rate_hz
    found = embed_parts(
        open_encoder,
        info,
        [
            EmbeddedPart(
                Windowing(info.sample_rate_hz, info.window_samples, part.corruption),
                in_blocks(recordings[part.split], windows=windows, window_s=window_s),
            )
            for part in parts
        ],
        corpus.uri,
        actors=Actors(use_gpu=use_gpu, on_this_machine=on_this_machine),
        on_progress=on_progress,
    )
    for part, vectors in zip(parts, found, strict=True):
        yield of_corpus(vectors, recordings[part.split], info)


def embed_parts(
    open_encoder: EncoderOpening,
    info: EncoderInfo,
    parts: Sequence[EmbeddedPart],
    what: str,
    *,
    actors: Actors,
    on_progress: OnProgress = no_progress,
) -> Generator[CollectedVectors, None, None]:
    """Yields the vectors of all recordings of parts, in the order of the parts, as :func:`embed_corpus` does.

    Args:
        open_encoder: Opens the encoder in each actor.
        info: What the encoder is; it embeds audio.
        parts: The parts; those of one call are in memory at once, without their audio.
        what: What the recordings belong to, for messages.
        actors: The pool of actors.
        on_progress: Called after each batch of windows with the numbers of finished recordings and of all.

    Raises:
        EvaluationError: Vectors are not finite.
        EncoderError: The encoder cannot be opened, or returns something else than vectors.
        EmbeddingFailed: A process ended, and it was not restarted.
        StorageError, StoragePermanentError: The storage of the recordings failed.
    """
    at_once = windows_of_a_pass("cuda" if actors.use_gpu else "cpu", info.window_samples)
    work = [_Work(number, part.reading, block) for number, part in enumerate(parts) for block in part.blocks]
    collectors = {number: VectorCollector(part.count, info) for number, part in enumerate(parts)}
    total, finished = sum(part.count for part in parts), 0
    with quiet_ray_data() as context, ExitStack() as stack:
        context.target_max_block_size = 1  # each row is passed on at once
        context.execution_no_progress_timeout_s = -1  # a batch may take minutes on a CPU
        read = partial(_batches, at_once=at_once)
        dataset = _dataset(work, read, open_encoder, actors)
        for number, batch in stack.enter_context(closing(_arriving(dataset, what))):
            if number in collectors:  # otherwise it is the rest of a recording that was skipped
                collectors[number].add(batch)
            on_progress(finished + sum(each.done for each in collectors.values()), total)
            while len(collectors) > 1 and collectors[first := min(collectors)].is_complete:
                finished += collectors[first].done
                yield collectors.pop(first).collected()
    # the last one after the actors have ended
    yield from (collectors.pop(number).collected() for number in sorted(collectors))


def _arriving(dataset: ray.data.Dataset, what: str) -> Generator[tuple[int, WindowBatch], None, None]:
    """Yields batches of vectors with the numbers of their parts.

    Raises:
        EmbeddingFailed: A process ended.
        MulanError: What was sent instead of a batch.
    """
    try:
        for row in dataset.iter_rows():
            for number, batch in pickle.loads(row["content"]):  # written by another process of this job
                if isinstance(batch, MulanError):
                    raise batch
                yield number, batch
    except (OutOfMemoryError, RayActorError, WorkerCrashedError) as error:
        raise EmbeddingFailed(
            f"a process that embeds recordings of {what} ended: {str(error).splitlines()[0]} It may have run "
            "out of memory, or the code of the encoder has ended it; repeat the command"
        ) from error


@dataclass(frozen=True)
class _Work:
    """What an actor embeds at once."""

    number: int
    """Number of the part."""
    reading: WindowReading
    """How recordings become windows."""
    block: Sequence[Any]
    """The recordings."""


def _dataset(
    work: Sequence[_Work], read: Callable[[bytes], Iterator[Batch]], open_encoder: EncoderOpening, actors: Actors
) -> ray.data.Dataset:
    # with a GPU no CPU, which the tasks that read need
    use_gpu = actors.use_gpu
    options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if use_gpu else {"num_cpus": 1}
    if actors.on_this_machine:
        options["max_restarts"] = 0
    available = int(ray.cluster_resources().get("GPU" if use_gpu else "CPU", 1))
    minimum, initial, maximum = actors.sizes(blocks=len(work), available=available)
    pool = ray.data.ActorPoolStrategy(
        min_size=minimum, initial_size=initial, max_size=maximum, max_tasks_in_flight_per_actor=_IN_FLIGHT
    )
    # not from_arrow, which starts processes to look at the tables
    dataset = ray.data.from_items([{"content": pickle.dumps(each)} for each in work], override_num_blocks=len(work))
    if use_gpu:
        dataset = dataset.map_batches(_read, fn_kwargs={"read": read}, batch_size=None)
    actor = {"open_encoder": open_encoder, "device": "cuda" if use_gpu else "cpu", "read": None if use_gpu else read}
    return dataset.map_batches(_Embedding, fn_constructor_kwargs=actor, compute=pool, batch_size=None, **options)


def _batches(content: bytes, at_once: int) -> Iterator[Batch]:
    """Yields the windows of what :func:`_dataset` has pickled."""
    work: _Work = pickle.loads(content)
    try:
        for batch in read_windows(work.block, work.reading, at_once=at_once):
            yield work.number, batch
    except MulanError as error:
        yield work.number, error


def _read(rows: Rows, read: Callable[[bytes], Iterator[Batch]]) -> Iterator[Rows]:
    """Reads recordings in a task, which passes the windows to actors."""
    for content in rows["content"]:
        yield from (_row([batch]) for batch in read(content))


class _Embedding:
    """Embeds windows. Each actor of the pool holds an instance, so that it opens the encoder once."""

    def __init__(
        self, open_encoder: EncoderOpening, device: str, read: Callable[[bytes], Iterator[Batch]] | None
    ) -> None:
        """
        Args:
            open_encoder: Opens the encoder.
            device: Where it computes.
            read: Reads recordings; None if tasks have read them.
        """
        self._read = read
        self._encoder: Encoder | MulanError
        try:
            self._encoder = open_encoder(device=device)
        except MulanError as error:  # an actor that raises it is reported as one that died
            self._encoder = error

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        for content in rows["content"]:  # written by another process of this job
            batches = self._read(content) if self._read else pickle.loads(content)
            # at once, since an actor may wait after each row until it is taken
            yield _row([self._embedded(batch) for batch in batches])

    def _embedded(self, batch: Batch) -> Batch:
        number, windows = batch
        if isinstance(windows, MulanError):
            return batch
        if isinstance(self._encoder, MulanError):
            return number, self._encoder
        try:
            return number, windows.embedded(self._encoder)
        except MulanError as error:
            return number, error


def _row(batches: Sequence[Batch]) -> Rows:
    return {"content": np.array([pickle.dumps(batches)], object)}
