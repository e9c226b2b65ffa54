"""The embedding of a collection: the parts that are missing are computed and written one after another.

A call that is interrupted leaves whole parts and no ``embeddings.json``; the same call again computes the other parts.
The rows depend on the recordings and settings alone: not on how often a call was interrupted, nor on the number of
processes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise

from mulan.collection.embeddings import (
    MANIFEST_NAME,
    EmbeddingModel,
    Manifest,
    part_table,
    write_manifest,
    write_skipped,
)
from mulan.collection.plan import EmbeddingPlan, PlannedPart, Settings, write_finished
from mulan.collection.reading import CollectionReading, ReadAudio
from mulan.collection.recordings import AudioCollection, CollectionRecording
from mulan.data.errors import MAX_FAULTS, BadRecording, TooManySkippedRecordings
from mulan.evaluation.embedding.collected import CollectedVectors
from mulan.evaluation.embedding.indexed import in_blocks
from mulan.evaluation.embedding.local import BATCHES_PER_BLOCK
from mulan.evaluation.embedding.pipeline import Actors, EmbeddedPart, EncoderOpening, embed_parts
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.model.inference.passes import windows_of_a_pass
from mulan.storage import filesystem

_PARTS_AT_ONCE = 256
"""Number of parts of one execution of Ray Data, which prepares all of its tasks before the first one runs."""

OnProgress = Callable[[int, int], None]
"""Called with the numbers of finished and of all recordings of the parts that are computed."""


def embed_missing(
    collection: AudioCollection,
    plan: EmbeddingPlan,
    settings: Settings,
    open_encoder: EncoderOpening,
    *,
    actors: Actors,
    on_progress: OnProgress,
) -> None:
    """Computes and writes the parts that are missing; Ray must be initialised.

    Args:
        collection: The recordings.
        plan: The parts, among whose finished ones those are afterwards that were written.
        settings: What decides the content of parts.
        open_encoder: Opens the encoder in each actor.
        actors: The pool of actors.
        on_progress: Called as recordings are embedded.

    Raises:
        EmbeddingsError: A number of a vector is too large for ``settings.dtype``.
        EvaluationError, EncoderError, EmbeddingFailed, StorageError, StoragePermanentError: As in
            :func:`mulan.evaluation.embedding.pipeline.embed_parts`, or a part cannot be written. Those that were
            written before stay.
    """
    missing = plan.missing
    if missing:
        filesystem.remove(filesystem.join(plan.folder_uri, MANIFEST_NAME))
    total, before = sum(len(part.recordings) for part in missing), 0
    for first in range(0, len(missing), _PARTS_AT_ONCE):
        some = missing[first : first + _PARTS_AT_ONCE]
        found = embed_parts(
            open_encoder,
            settings.info,
            [to_embed(part, settings, use_gpu=actors.use_gpu) for part in some],
            collection.name,
            actors=actors,
            on_progress=partial(_forward, on_progress, before, total),
        )
        with closing(found):
            for part, vectors in zip(some, found, strict=True):
                _write(part, vectors, plan, settings)
        before += sum(len(part.recordings) for part in some)


def _forward(on_progress: OnProgress, before: int, total: int, done: int, _: int) -> None:
    on_progress(before + done, total)


def to_embed(part: PlannedPart, settings: Settings, *, use_gpu: bool) -> EmbeddedPart:
    """Returns a part as :func:`mulan.evaluation.embedding.pipeline.embed_parts` takes it.

    It is divided by what is known before its audio is read, so that the same windows are embedded together by any
    number of processes.
    """
    info = settings.info
    at_once = BATCHES_PER_BLOCK * windows_of_a_pass("cuda" if use_gpu else "cpu", info.window_samples)
    window_s = info.window_samples / info.sample_rate_hz
    return EmbeddedPart(
        CollectionReading(info.sample_rate_hz, info.window_samples),
        in_blocks(part.recordings, windows=at_once, window_s=window_s),
    )


def _write(part: PlannedPart, vectors: CollectedVectors, plan: EmbeddingPlan, settings: Settings) -> None:
    kept = [(part.recordings[position], labels) for position, labels in vectors.finished.items()]
    table = part_table(_columns(kept, vectors, settings), settings.schema)
    skipped = [_skipped(part.recordings[position], error) for position, error in vectors.skipped.items()]
    plan.finished[part.name] = write_finished(plan.folder_uri, part.name, table, skipped)


def _columns(
    kept: Sequence[tuple[CollectionRecording, ReadAudio]], vectors: CollectedVectors, settings: Settings
) -> dict[str, object]:
    read = [labels for _, labels in kept]
    columns: dict[str, object] = {
        "recording_id": [recording.recording_id for recording, _ in kept],
        "tags": [list(recording.tags) for recording, _ in kept],
    }
    columns |= {name: [each.columns[name] for each in read] for name in COLUMNS_OF_AUDIO}
    named = tuple(LabelledRecording(recording.recording_id, "") for recording, _ in kept)
    embedded = EmbeddedRecordings(named, vectors.windows, vectors.starts, settings.info.is_unit)
    columns["embedding"] = embedded.means
    if settings.windows:
        starts = vectors.starts.tolist()
        columns["windows"] = [vectors.windows[first:last] for first, last in pairwise(starts)]
        columns["window_starts_s"] = [each.window_starts_s for each in read]
    return columns


def _skipped(recording: CollectionRecording, error: BadRecording) -> dict[str, str]:
    return {
        "recording_id": recording.recording_id,
        "uri": recording.place.uri,
        "reason": error.reason,
        "detail": error.detail,
    }


def finish(
    collection: AudioCollection, plan: EmbeddingPlan, settings: Settings, encoder: str, *, max_skipped_share: float
) -> Manifest:
    """Writes ``skipped.parquet`` and ``embeddings.json``, and removes parts of other recordings or settings.

    Args:
        collection: The recordings.
        plan: The parts, all of which are finished.
        settings: What decides the content of parts.
        encoder: ``[KIND=]URI`` of the encoder, the same in every working folder.
        max_skipped_share: Maximum share of recordings that were skipped, or left out by the source, in [0, 1]; one
            always may be, unless it is 0.

    Raises:
        TooManySkippedRecordings: More were, or all; names them. There is no ``embeddings.json`` then, and all parts
            stay.
        StorageError, StoragePermanentError: A file cannot be written.
    """
    finished = [plan.finished[part.name] for part in plan.parts]
    rows = sum(each.rows for each in finished)
    skipped = [row for each in finished for row in each.skipped]
    counts = Counter(row["reason"] for row in skipped) + collection.faults.counts
    skipped += _left_out(collection)
    write_skipped(plan.folder_uri, skipped)
    try:
        check_skipped(collection.name, counts, skipped, rows, _EMBEDDED, max_skipped_share=max_skipped_share)
    except TooManySkippedRecordings:
        filesystem.remove(filesystem.join(plan.folder_uri, MANIFEST_NAME))
        raise
    info = settings.info
    manifest = Manifest(
        model=EmbeddingModel(
            name=info.name,
            uri=encoder,
            sha256=info.sha256,
            sample_rate_hz=info.sample_rate_hz,
            window_samples=info.window_samples,
            dim=info.dim,
            is_unit=info.is_unit,
            embeds_text=info.embeds_text,
        ),
        dtype=settings.dtype,
        windows=settings.windows,
        recordings=rows,
        parts=tuple(part.name for part in plan.parts),
        skipped=dict(counts.most_common()),
        data=collection.name,
    )
    write_manifest(plan.folder_uri, manifest, skipped)
    for name in plan.stale:
        filesystem.remove(filesystem.join(plan.folder_uri, name))
    return manifest


def check_left_out(collection: AudioCollection, *, max_skipped_share: float) -> None:
    """Checks that a source has not left out too many recordings, before the others are embedded.

    Args:
        collection: The recordings, and what the source has left out.
        max_skipped_share: Maximum share of recordings that are skipped, in [0, 1]; one always may be, unless it is 0.

    Raises:
        TooManySkippedRecordings: The source has left out more; names them.
    """
    counts, rows = collection.faults.counts, len(collection.recordings)
    check_skipped(collection.name, counts, _left_out(collection), rows, "", max_skipped_share=max_skipped_share)


def _left_out(collection: AudioCollection) -> list[dict[str, str]]:
    """Returns the rows of ``skipped.parquet`` of what a source has left out, which has no ids."""
    named = collection.faults.named.items()
    return [
        {"recording_id": "", "uri": "", "reason": reason, "detail": detail}
        for reason, details in named
        for detail in details
    ]


_EMBEDDED = "; all others are embedded, and the same command embeds only what is missing"


def check_skipped(
    name: str,
    counts: Counter[str],
    named: Sequence[Mapping[str, str]],
    rows: int,
    others: str,
    *,
    max_skipped_share: float,
) -> None:
    """Checks that enough recordings can be embedded.

    Args:
        name: The collection, for the message.
        counts: Number of those that cannot by reason.
        named: Some or all of them, rows of ``skipped.parquet``.
        rows: Number of the others.
        others: End of the message about the others.
        max_skipped_share: Maximum share of those that cannot, in [0, 1]; a single one always may be, unless it is 0.

    Raises:
        TooManySkippedRecordings: There are more, or nothing can be embedded; names them.
    """
    count = counts.total()
    # one of fewer than 100 recordings is more than the usual share, and says nothing about the collection
    allowed = max(max_skipped_share * (rows + count), 1) if max_skipped_share else 0
    if rows and count <= allowed:
        return
    remedy = "repair or remove them"
    if rows:
        remedy += f", or allow a share of more than {max_skipped_share:g} by --max-skipped-share{others}"
    lines = [": ".join(filter(None, (row["recording_id"], row["reason"], row["detail"]))) for row in named[:MAX_FAULTS]]
    more = [f"and {count - len(lines)} more"] if count > len(lines) else []
    raise TooManySkippedRecordings(
        f"{count} of the {rows + count} recordings of {name} cannot be embedded; {remedy}"
        + "".join(f"\n  - {line}" for line in lines)
        + "".join(f"\n  {line}" for line in more)
    )


def result_lines(manifest: Manifest, plan: EmbeddingPlan) -> Iterator[str]:
    """Yields the lines that tell a user what a collection has become."""
    for reason, count in manifest.skipped.items():
        yield f"skipped  {reason}: {count}"
    if plan.stale:
        yield f"removed  {len(plan.stale)} parts of other recordings, another model or other settings"
    yield f"embeddings  {manifest.recordings} recordings, {len(manifest.parts)} parts: {plan.folder_uri}"


COLUMNS_OF_AUDIO = (
    "uri", "offset", "length", "extension", "start_s", "duration_s", "title", "artist", "waveform"
)  # fmt: skip
"""Columns of a part that are read with the audio."""
