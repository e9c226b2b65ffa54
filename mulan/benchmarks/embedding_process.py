"""A process that embeds a corpus, and prints the recordings per second.

``python -m mulan.benchmarks.embedding_process job CORPUS MODEL`` embeds it with the pipeline of evaluations, on a local
Ray. With ``collection`` instead of ``job``, it is the pipeline of ``jobs.embed``, which also writes the vectors. With
``bare``, as many processes as the job has actors call the model in a loop, on windows that they have decoded before.
With ``loop`` they read and decode the recordings in that loop, which an evaluation cannot do without.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing.synchronize import Barrier

import numpy as np
import torch

from mulan.collection.embedding import embed_missing
from mulan.collection.part import RECORDINGS_PER_PART
from mulan.collection.plan import Settings, plan_parts
from mulan.collection.recordings import open_collection
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.pipeline import Actors, embed_corpus
from mulan.evaluation.embedding.windows import CorpusPart, WindowBatch, Windowing, read_windows
from mulan.evaluation.encoders.registry import open_encoder
from mulan.launch.cluster import connect, local_resources
from mulan.model.inference.passes import WINDOWS_AT_ONCE
from mulan.preparation.settings import PreparationConfig

SPLIT = "train"
_WARM_SHARE = 1 / 3
"""Share of the recordings that is embedded before the measurement begins, while actors start."""
_OPEN_S = 600.0
"""Maximum time in seconds until all processes have loaded the model."""


def rate_of_job(corpus_uri: str, model_uri: str) -> float:
    """Returns the recordings per second of the pipeline after its start."""
    connect(ScaleConfig())
    times: list[tuple[float, int]] = []
    (_,) = embed_corpus(
        partial(open_encoder, model_uri),
        open_encoder(model_uri, device="cpu").info,
        Corpus.open(corpus_uri),
        [CorpusPart(SPLIT)],
        on_progress=lambda done, total: times.append((time.monotonic(), done)),
    )
    return steady_rate(times)


def rate_of_collection(corpus_uri: str, model_uri: str) -> float:
    """Returns the recordings per second of the pipeline of ``jobs.embed`` after its start, with windows."""
    connect(ScaleConfig())
    times: list[tuple[float, int]] = []
    settings = Settings(open_encoder(model_uri, device="cpu").info, windows=True)
    collection = open_collection(corpus_uri, PreparationConfig())
    with tempfile.TemporaryDirectory() as folder:
        embed_missing(
            collection,
            plan_parts(collection, settings, folder, recordings_per_part=RECORDINGS_PER_PART),
            settings,
            partial(open_encoder, model_uri),
            actors=Actors(),
            on_progress=lambda done, total: times.append((time.monotonic(), done)),
        )
    return steady_rate(times)


def steady_rate(times: Sequence[tuple[float, int]]) -> float:
    """Returns the recordings per second after the first third.

    Args:
        times: Time in seconds and number of finished recordings, in order.
    """
    (last, total) = times[-1]
    first, done = next(each for each in times if each[1] >= _WARM_SHARE * total)
    return (total - done) / (last - first)


def rate_of_model(corpus_uri: str, model_uri: str, *, decodes: bool) -> float:
    """Returns the recordings per second of a loop without Ray.

    Args:
        corpus_uri: Folder of the corpus.
        model_uri: Folder of the exported model.
        decodes: Whether the loop reads and decodes the recordings; if not, they were decoded before it.
    """
    processes = int(local_resources(ScaleConfig())["CPU"])
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, initializer=_receive, initargs=(barrier,)) as pool:
        of_process = partial(_embed_share, corpus_uri, model_uri, processes, decodes)
        spans = pool.map(of_process, range(processes), chunksize=1)
    recordings = len(Corpus.open(corpus_uri).rows(SPLIT))
    return recordings / (max(end for _, end in spans) - min(begun for begun, _ in spans))


_barrier: Barrier | None = None


def _receive(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _embed_share(corpus_uri: str, model_uri: str, processes: int, decodes: bool, number: int) -> tuple[float, float]:
    """Embeds the windows of every n-th recording, and returns when it began and ended."""
    torch.set_num_threads(1)  # as in an actor, which has one CPU
    encoder = open_encoder(model_uri, device="cpu")
    windowing = Windowing(encoder.info.sample_rate_hz, encoder.info.window_samples)
    share = indexed_recordings(Corpus.open(corpus_uri), [SPLIT])[number::processes]
    batches: Iterable[WindowBatch] = read_windows(share, windowing, at_once=WINDOWS_AT_ONCE)
    if not decodes:
        batches = list(batches)
    encoder.embed_audio(np.zeros((WINDOWS_AT_ONCE, encoder.info.window_samples), np.int16))
    assert _barrier is not None
    _barrier.wait(_OPEN_S)
    begun = time.monotonic()
    for batch in batches:
        encoder.embed_audio(batch.windows)
    return begun, time.monotonic()


if __name__ == "__main__":
    ways: dict[str, Callable[[str, str], float]] = {
        "job": rate_of_job,
        "collection": rate_of_collection,
        "bare": partial(rate_of_model, decodes=False),
        "loop": partial(rate_of_model, decodes=True),
    }
    print(ways[sys.argv[1]](*sys.argv[2:]))
