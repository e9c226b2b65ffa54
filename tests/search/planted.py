"""Collections with known vectors, whose embeddings need no model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingModel, Manifest, write_manifest
from mulan.collection.part import part_name, part_schema, part_table, write_part

DIM = 8
MODEL = EmbeddingModel(
    name="planted",
    uri="/models/planted",
    sha256="ab" * 32,
    sample_rate_hz=16_000,
    window_samples=8000,
    dim=DIM,
    is_unit=True,
    embeds_text=True,
)


def unit(rows: np.ndarray) -> np.ndarray:
    result: np.ndarray = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return result


def planted_vectors(count: int, *, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, dim))).astype(np.float32)


def name_of(number: int) -> str:
    return f"track/{number:04d}"


def tags_of(number: int) -> list[str]:
    return [f"genre:{'rock' if number % 2 else 'jazz'}", *(["mood:it's happy"] if number % 3 == 0 else [])]


def write_planted(
    folder: Path,
    vectors: np.ndarray,
    *,
    numbers: Sequence[int] | None = None,
    windows: bool = True,
    model: EmbeddingModel = MODEL,
    audio: Path | None = None,
) -> CollectionEmbeddings:
    """Writes the embeddings of recordings, of which every one has three windows of 10 s, and the second one its vector.

    Args:
        folder: Folder of the embeddings.
        vectors: Unit vectors, float32 [n, d].
        numbers: Number of each recording, ascending; from 0 if None.
        windows: Whether the vectors of windows are written.
        model: The model.
        audio: An audio file that all recordings have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = list(range(len(vectors)) if numbers is None else numbers)
    columns = {
        "recording_id": [name_of(number) for number in chosen],
        "uri": [str(audio or f"/music/{number}.flac") for number in chosen],
        "offset": [0] * len(chosen),
        "length": [audio.stat().st_size if audio else 1000] * len(chosen),
        "extension": [audio.suffix[1:] if audio else "flac"] * len(chosen),
        "start_s": [0.0] * len(chosen),
        "duration_s": [float(20 + number % 10) for number in chosen],
        "title": [f"Title {number}" if number % 2 else "" for number in chosen],
        "artist": [f"Artist {number % 4}" for number in chosen],
        "tags": [tags_of(number) for number in chosen],
        "waveform": [bytes([number % 256] * 200) for number in chosen],
        "embedding": vectors,
        "windows": [np.stack([-vector, vector, 0 * vector]) for vector in vectors],
        "window_starts_s": [[0.0, 7.5, 15.0]] * len(chosen),
    }
    schema = part_schema(model.dim, "float32", windows=windows)
    write_part(str(folder), part_name("0a"), part_table(columns, schema))
    manifest = Manifest(
        model=model, dtype="float32", windows=windows, recordings=len(chosen), parts=(part_name("0a"),), skipped={}
    )
    write_manifest(str(folder), manifest)
    return CollectionEmbeddings.open(str(folder))
