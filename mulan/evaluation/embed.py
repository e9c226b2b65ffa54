"""Embeds a split of a corpus with Ray Data: tasks read and decode, actors embed."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext

from mulan import MuLan
from mulan.config.errors import MulanError
from mulan.data.audio.windows import covering_windows
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import parse_result
from mulan.data.errors import BadRecording, TooManySkippedRecordings
from mulan.data.pipeline import hide_progress_bars
from mulan.model.inference.exported import WINDOWS_AT_ONCE
from mulan.model.inference.inputs import in_batches
from mulan.model.inference.mulan import unit_mean
from mulan.storage import filesystem


class EvaluationError(MulanError, ValueError):
    """A split or a model that cannot be evaluated."""


_RECORDINGS_PER_BLOCK = 16
_FAULTS_SHOWN = 20


@dataclass(frozen=True)
class EmbeddedSplit:
    """The readable recordings of a split, in the order of their ids."""

    recording_ids: tuple[str, ...]
    embeddings: np.ndarray
    """Unit vectors, float32 [recordings, d]."""
    texts: tuple[tuple[str, ...], ...]
    """Each recording's texts of one source; none for a recording without any."""
    tags: tuple[tuple[str, ...], ...]
    """Each recording's tags, ``category:text``."""
    unreadable: dict[str, str]
    """Id of each recording that was left out, and why."""


def embed_split(
    corpus: Corpus,
    split: str,
    *,
    model_uri: str,
    sample_rate_hz: int,
    window_samples: int,
    text_source: str,
    max_skipped_share: float,
    use_gpu: bool = False,
) -> EmbeddedSplit:
    """One unit vector a recording, the same as :meth:`mulan.MuLan.embed_audio` gives.

    Args:
        corpus: where the recordings are.
        split: ``train``, ``validation`` or ``test``.
        model_uri: of an exported model.
        sample_rate_hz: rate of the model's input.
        window_samples: length of the model's window.
        text_source: whose texts are returned with the recordings.
        max_skipped_share: share of unreadable recordings, in [0, 1], above which nothing is returned.
        use_gpu: one GPU for each actor that embeds.

    Raises:
        EvaluationError: the split has no recordings, or the model gives vectors that are not finite.
        TooManySkippedRecordings: naming them.
    """
    rows = corpus.rows(split)
    if not len(rows):
        raise EvaluationError(f"corpus {corpus.uri} has no recordings in the split {split!r}")
    blocks = _blocks(corpus, rows, text_source)
    reading = {"sample_rate_hz": sample_rate_hz, "window_samples": window_samples, "text_source": text_source}
    # a GPU for each copy of the model, beside tasks that read; on CPUs Ray Data reads in the same actors
    resources = {"num_gpus": 1, "num_cpus": 0} if use_gpu else {}
    with _quiet_ray_data():
        embedded = (
            ray.data.from_arrow(blocks)
            .map_batches(_read_recordings, fn_kwargs=reading, batch_size=None)
            .map_batches(
                _Embedder,
                fn_constructor_kwargs={"model_uri": model_uri, "device": "cuda" if use_gpu else "cpu"},
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(blocks)),
                batch_size=None,
                **resources,
            )
            .take_all()
        )
    return _collect(corpus, split, _joined(embedded), max_skipped_share)


def _read_recordings(
    batch: dict[str, np.ndarray], *, sample_rate_hz: int, window_samples: int, text_source: str
) -> Iterator[dict[str, list[Any]]]:
    """Yields the windows and texts of the recordings in rows of the index, or the reason why one cannot be read.

    A long recording is several rows, so that it is never held whole in memory.
    """

    def row(number: int, part: int, texts: list[str], *, windows: bytes = b"", fault: str = "") -> dict[str, list[Any]]:
        return {"row": [number], "part": [part], "windows": [windows], "texts": [json.dumps(texts)], "fault": [fault]}

    reads = filesystem.read_ranges(list(batch["uri"]), batch["offset"].tolist(), batch["length"].tolist())
    for number, read, has_texts in zip(batch["row"], reads, batch["has_texts"], strict=True):
        texts: list[str] = []
        try:
            record = parse_result(read)
            texts = record.texts(text_source) if has_texts else []
            windows = covering_windows(record.audio, window_samples, sample_rate_hz=sample_rate_hz)
            for part, some in enumerate(in_batches(windows, WINDOWS_AT_ONCE)):
                yield row(number, part, texts, windows=some.tobytes())
        except BadRecording as error:
            yield row(number, 0, texts, fault=str(error))


class _Embedder:
    """Embeds windows; an actor, which loads the model once."""

    def __init__(self, model_uri: str, device: str) -> None:
        self._model = MuLan.from_pretrained(model_uri, device=device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        vectors = [
            self._model.embed_windows(np.frombuffer(windows, np.int16).reshape(-1, self._model.window_samples))
            for windows in batch["windows"]
        ]
        return {
            **{name: batch[name] for name in ("row", "part", "texts", "fault")},
            "count": [len(some) for some in vectors],
            "vectors": [some.tobytes() for some in vectors],
        }


def _blocks(corpus: Corpus, rows: np.ndarray, text_source: str) -> list[pa.Table]:
    """What the tasks need of the index, a table for each of them."""
    uris, offsets, lengths = corpus.byte_ranges(rows.tolist())
    sources = corpus.table["sources"].take(pa.array(rows)).to_pylist()
    table = pa.table(
        {
            "row": rows,
            "uri": uris,
            "offset": offsets,
            "length": lengths,
            "has_texts": [text_source in of_recording for of_recording in sources],
        }
    )
    return [table.slice(start, _RECORDINGS_PER_BLOCK) for start in range(0, len(rows), _RECORDINGS_PER_BLOCK)]


def _joined(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One item for each recording, with the vector of all of its windows."""
    of_row: dict[int, list[Mapping[str, Any]]] = {}
    for part in sorted(parts, key=lambda part: part["part"]):
        of_row.setdefault(part["row"], []).append(part)
    joined = []
    for row, some in of_row.items():
        fault = next((part["fault"] for part in some if part["fault"]), "")
        item = {"row": row, "texts": some[0]["texts"], "fault": fault}
        if not fault:
            vectors = np.frombuffer(b"".join(part["vectors"] for part in some), np.float32)
            item["embedding"] = unit_mean(vectors.reshape(sum(part["count"] for part in some), -1))
        joined.append(item)
    return joined


def _collect(
    corpus: Corpus, split: str, embedded: Sequence[Mapping[str, Any]], max_skipped_share: float
) -> EmbeddedSplit:
    part = corpus.table.select(["recording_id", "tags"]).take(pa.array([item["row"] for item in embedded], pa.int64()))
    ids = dict(zip((item["row"] for item in embedded), part["recording_id"].to_pylist(), strict=True))
    tags = dict(zip(ids, part["tags"].to_pylist(), strict=True))
    embedded = sorted(embedded, key=lambda item: ids[item["row"]])
    good = [item for item in embedded if not item["fault"]]
    unreadable = {ids[item["row"]]: item["fault"] for item in embedded if item["fault"]}
    if not good or len(unreadable) > max_skipped_share * len(embedded):
        listed = "\n".join(f"  - {name}: {fault}" for name, fault in list(unreadable.items())[:_FAULTS_SHOWN])
        more = len(unreadable) - _FAULTS_SHOWN
        raise TooManySkippedRecordings(
            f"{len(unreadable)} of the {len(embedded)} recordings in the split {split!r} of {corpus.uri} cannot be "
            f"read; a share of {max_skipped_share:g} is allowed:\n{listed}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
    embeddings = np.stack([item["embedding"] for item in good]).astype(np.float32)
    if not np.isfinite(embeddings).all():
        raise EvaluationError("the model gives audio embeddings that are not finite; did its training diverge?")
    return EmbeddedSplit(
        recording_ids=tuple(ids[item["row"]] for item in good),
        embeddings=embeddings,
        texts=tuple(tuple(json.loads(item["texts"])) for item in good),
        tags=tuple(tuple(tags[item["row"]]) for item in good),
        unreadable=unreadable,
    )


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """No progress bars and nothing but errors in the log, for this one dataset."""
    context = DataContext.get_current().copy()
    hide_progress_bars(context)
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with DataContext.current(context):
            yield
    finally:
        log.setLevel(level)
