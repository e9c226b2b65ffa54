"""Embedding of a split with Ray Data: tasks read and decode recordings, and a pool of actors embeds them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayActorError

from mulan import MuLan
from mulan.data.audio.windows import covering_windows
from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.records import read_fragments
from mulan.data.errors import BadRecording, TooManySkippedRecordings
from mulan.data.ray_data_output import quiet_ray_data
from mulan.evaluation.errors import EmbeddingFailed as EmbeddingFailed
from mulan.evaluation.errors import EvaluationError as EvaluationError
from mulan.model.inference.inputs import in_batches
from mulan.model.inference.mulan import unit_mean
from mulan.model.inference.passes import WINDOWS_AT_ONCE

_RECORDINGS_PER_BLOCK = 16
_SKIPPED_SHOWN = 20


@dataclass(frozen=True)
class EmbeddedSplit:
    """The embedded recordings of a split, in the order of their ids."""

    recording_ids: tuple[str, ...]
    """Ids, ascending."""
    embeddings: np.ndarray
    """Unit vectors, float32 [recordings, d]."""
    texts: tuple[tuple[str, ...], ...]
    """Texts of one source of each recording, which may have none."""
    tags: tuple[tuple[str, ...], ...]
    """Tags of each recording, ``category:text``."""
    skipped: dict[str, str]
    """Reason by id of each skipped recording."""


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
    restart_actors: bool = False,
) -> EmbeddedSplit:
    """Embeds each recording of a split as one unit vector, the same as :meth:`mulan.MuLan.embed_audio` returns.

    Args:
        corpus: A prepared corpus.
        split: ``train``, ``validation`` or ``test``.
        model_uri: Folder of an exported joint model, a local path or any fsspec URI.
        sample_rate_hz: Sample rate of the model's input.
        window_samples: Length of the model's window in samples.
        text_source: Source of the texts that are returned with the recordings.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].
        use_gpu: Reserve one GPU for each actor.
        restart_actors: Restart an actor on another node when its node is lost. Ray then prints a line about
            ``max_restarts > 0`` for each pool (ray-project/ray#57733), which does not apply while this process lives.

    Raises:
        EvaluationError: The split has no recordings, or embeddings are not finite.
        TooManySkippedRecordings: More recordings were skipped than allowed; names them.
        EmbeddingFailed: The process of an actor ended, and it was not restarted.
    """
    blocks = _blocks(corpus, _rows(corpus, split), text_source)
    reading = {"sample_rate_hz": sample_rate_hz, "window_samples": window_samples, "text_source": text_source}
    # one GPU per copy of the model, and no CPU, which the tasks that read need; on CPUs, actors read as well
    options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if use_gpu else {}
    if not restart_actors:
        options["max_restarts"] = 0
    with quiet_ray_data():
        dataset = (
            ray.data.from_arrow(blocks)
            .map_batches(_read_recordings, fn_kwargs=reading, batch_size=None)
            .map_batches(
                _Embedder,
                fn_constructor_kwargs={"model_uri": model_uri, "device": "cuda" if use_gpu else "cpu"},
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(blocks)),
                batch_size=None,
                **options,
            )
        )
        try:
            rows_of_windows = dataset.take_all()
        except RayActorError as error:
            raise EmbeddingFailed(
                f"a process that embeds recordings of {corpus.uri} ended: {str(error).splitlines()[0]} It may have run "
                "out of memory; repeat the command"
            ) from error
    return _collect(corpus, split, _joined(rows_of_windows), max_skipped_share)


def embed_split_here(
    model: MuLan, corpus: Corpus, split: str, *, text_source: str, max_skipped_share: float
) -> EmbeddedSplit:
    """Embeds each recording of a split like :func:`embed_split`, in this process and without Ray.

    Args:
        model: The model, on any device.
        corpus: A prepared corpus.
        split: ``train``, ``validation`` or ``test``.
        text_source: Source of the texts that are returned with the recordings.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].

    Raises:
        EvaluationError: The split has no recordings, or embeddings are not finite.
        TooManySkippedRecordings: More recordings were skipped than allowed; names them.
    """
    rows_of_windows: list[dict[str, Any]] = []
    for block in _blocks(corpus, _rows(corpus, split), text_source):
        columns = {name: block[name].to_numpy() for name in block.column_names}
        for part in _read_recordings(
            columns,
            sample_rate_hz=model.sample_rate_hz,
            window_samples=model.window_samples,
            text_source=text_source,
        ):
            embedded = _embedded(model, part)
            rows_of_windows.append({name: values[0] for name, values in embedded.items()})
    return _collect(corpus, split, _joined(rows_of_windows), max_skipped_share)


def _rows(corpus: Corpus, split: str) -> np.ndarray:
    rows = corpus.rows(split)
    if not len(rows):
        raise EvaluationError(f"corpus {corpus.uri} has no recordings in the split {split!r}")
    return rows


def _read_recordings(
    batch: dict[str, np.ndarray], *, sample_rate_hz: int, window_samples: int, text_source: str
) -> Iterator[dict[str, list[Any]]]:
    """Yields the windows and texts of recordings, or the reason why a recording is skipped.

    A long recording yields several rows, so that it is never held in memory as a whole.

    Args:
        batch: Columns of :func:`_blocks`.
    """

    def output(
        row: int, part: int, texts: list[str], *, windows: bytes = b"", reason: str = ""
    ) -> dict[str, list[Any]]:
        return {"row": [row], "part": [part], "windows": [windows], "texts": [json.dumps(texts)], "reason": [reason]}

    columns = (batch[name].tolist() for name in Location._fields)
    locations = [
        Location(uri, offset, length, tuple(map(int, further)), fields)
        for uri, offset, length, further, fields in zip(*columns, strict=True)
    ]
    for row, fragment, has_texts in zip(batch["row"], read_fragments(locations), batch["has_texts"], strict=True):
        texts: list[str] = []
        try:
            record = fragment.record()
            texts = record.texts(text_source) if has_texts else []
            windows = covering_windows(record.audio, window_samples, sample_rate_hz=sample_rate_hz)
            for part, chunk in enumerate(in_batches(windows, WINDOWS_AT_ONCE)):
                yield output(row, part, texts, windows=chunk.tobytes())
        except BadRecording as error:
            yield output(row, 0, texts, reason=str(error))


class _Embedder:
    """Embeds windows. Each actor of the pool holds an instance, so that it loads the model once."""

    def __init__(self, model_uri: str, device: str) -> None:
        self._model = MuLan.from_pretrained(model_uri, device=device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        return _embedded(self._model, batch)


def _embedded(model: MuLan, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the windows of a batch of :func:`_read_recordings` by their number and their vectors."""
    vectors = [
        model.embed_windows(np.frombuffer(windows, np.int16).reshape(-1, model.window_samples))
        for windows in batch["windows"]
    ]
    return {
        **{name: batch[name] for name in ("row", "part", "texts", "reason")},
        "count": [len(part) for part in vectors],
        "vectors": [part.tobytes() for part in vectors],
    }


def _blocks(corpus: Corpus, rows: np.ndarray, text_source: str) -> list[pa.Table]:
    """Divides rows of the index into blocks of one read task each, with the columns that the tasks need."""
    locations = dict(zip(Location._fields, map(list, zip(*corpus.locations(rows.tolist()), strict=True)), strict=True))
    sources = corpus.table["sources"].take(pa.array(rows)).to_pylist()
    table = pa.table(
        {
            "row": rows,
            **locations,
            "further_ranges": pa.array(locations["further_ranges"], pa.list_(pa.int64())),
            "has_texts": [text_source in recording_sources for recording_sources in sources],
        }
    )
    return [table.slice(start, _RECORDINGS_PER_BLOCK) for start in range(0, len(rows), _RECORDINGS_PER_BLOCK)]


def _joined(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Joins the parts of each recording into one item, with the mean of the embeddings of all of its windows."""
    by_row: dict[int, list[Mapping[str, Any]]] = {}
    for part in sorted(parts, key=lambda part: part["part"]):
        by_row.setdefault(part["row"], []).append(part)
    joined = []
    for row, row_parts in by_row.items():
        reason = next((part["reason"] for part in row_parts if part["reason"]), "")
        item = {"row": row, "texts": row_parts[0]["texts"], "reason": reason}
        if not reason:
            vectors = np.frombuffer(b"".join(part["vectors"] for part in row_parts), np.float32)
            item["embedding"] = unit_mean(vectors.reshape(sum(part["count"] for part in row_parts), -1))
        joined.append(item)
    return joined


def _collect(
    corpus: Corpus, split: str, embedded: Sequence[Mapping[str, Any]], max_skipped_share: float
) -> EmbeddedSplit:
    part = corpus.table.select(["recording_id", "tags"]).take(pa.array([item["row"] for item in embedded], pa.int64()))
    ids = dict(zip((item["row"] for item in embedded), part["recording_id"].to_pylist(), strict=True))
    tags = dict(zip(ids, part["tags"].to_pylist(), strict=True))
    embedded = sorted(embedded, key=lambda item: ids[item["row"]])
    good = [item for item in embedded if not item["reason"]]
    skipped = {ids[item["row"]]: item["reason"] for item in embedded if item["reason"]}
    if not good or len(skipped) > max_skipped_share * len(embedded):
        listed = "\n".join(f"  - {name}: {reason}" for name, reason in list(skipped.items())[:_SKIPPED_SHOWN])
        more = len(skipped) - _SKIPPED_SHOWN
        raise TooManySkippedRecordings(
            f"{len(skipped)} of the {len(embedded)} recordings in the split {split!r} of {corpus.uri} cannot be "
            f"read; a share of {max_skipped_share:g} is allowed:\n{listed}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
    embeddings = np.stack([item["embedding"] for item in good]).astype(np.float32)
    if not np.isfinite(embeddings).all():
        raise EvaluationError("the model's audio embeddings are not finite; did its training diverge?")
    return EmbeddedSplit(
        recording_ids=tuple(ids[item["row"]] for item in good),
        embeddings=embeddings,
        texts=tuple(tuple(json.loads(item["texts"])) for item in good),
        tags=tuple(tuple(tags[item["row"]]) for item in good),
        skipped=skipped,
    )
