"""A small collection of tones that is embedded by a model of no skill, and indexed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mulan
from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingModel, Manifest, write_manifest
from mulan.collection.part import part_name, part_schema, part_table, write_part
from mulan.data.audio.windows import covering_windows
from mulan.evaluation.encoders.registry import open_encoder
from mulan.search.building import add_to_index
from tests.sounds import flac, tone

HOSTILE = "a b/ö'\"<script>alert(1)</script>&?#%..\\"
"""An id with all that could be taken for something else in an address, a page or an expression of SQL."""
SECONDS = 3.0


@dataclass(frozen=True)
class TestCollection:
    """What a server needs."""

    __test__ = False  # no class of tests

    index_uri: str
    model_uri: str
    audio: dict[str, bytes]
    """The audio file of each recording by its id."""
    vectors: dict[str, np.ndarray]
    """The unit vector of each recording by its id."""


def make_collection(
    folder: Path,
    model_uri: str,
    *,
    ids: Sequence[str],
    titles: Sequence[str] = (),
    seconds: float = SECONDS,
    part: tuple[float, float] | None = None,
) -> TestCollection:
    """Writes the tones, embeds them, and makes the index. The audio of each is within a larger file, as in a tar.

    With a ``part``, its start and duration in seconds, the recordings are stated to be that part of their audio.
    """
    model, info = mulan.MuLan.from_pretrained(model_uri), open_encoder(model_uri, device="cpu").info
    ids = sorted(ids)
    contents = [flac(tone(200.0 + 40 * number, seconds, seed=number)) for number in range(len(ids))]
    folder.mkdir(parents=True, exist_ok=True)
    shard = folder / "audio.tar"
    shard.write_bytes(b"before" + b"".join(contents) + b"after")
    offsets = np.cumsum([6, *map(len, contents)])[:-1].tolist()
    windows = [model.embed_windows(_windows(model, content)) for content in contents]
    if part:
        windows = [each[: int(part[1] / 0.5)] for each in windows]
    vectors = np.array([_unit(each.mean(axis=0)) for each in windows], np.float32).reshape(len(ids), info.dim)
    columns = {
        "recording_id": ids,
        "uri": [str(shard)] * len(ids),
        "offset": offsets,
        "length": [len(content) for content in contents],
        "extension": ["flac"] * len(ids),
        "start_s": [part[0] if part else 0.0] * len(ids),
        "duration_s": [part[1] if part else seconds] * len(ids),
        "title": list(titles) or [f"Tone {number}" for number in range(len(ids))],
        "artist": ["Oscillator"] * len(ids),
        "tags": [[f"genre:{'high' if number % 2 else 'low'}", "mood:it's <b>calm</b>"] for number in range(len(ids))],
        "waveform": [bytes(range(200))] * len(ids),
        "embedding": vectors,
        "windows": windows,
        "window_starts_s": [[0.5 * number for number in range(len(each))] for each in windows],
    }
    embeddings = folder / "embeddings"
    embeddings.mkdir()
    write_part(str(embeddings), part_name("0a"), part_table(columns, part_schema(info.dim, "float32", windows=True)))
    described = EmbeddingModel(
        name=info.name, uri=model_uri, sha256=info.sha256, sample_rate_hz=info.sample_rate_hz,
        window_samples=info.window_samples, dim=info.dim, is_unit=True, embeds_text=True,
    )  # fmt: skip
    parts = (part_name("0a"),)
    write_manifest(
        str(embeddings),
        Manifest(model=described, dtype="float32", windows=True, recordings=len(ids), parts=parts, skipped={}),
    )
    add_to_index(str(folder / "index"), CollectionEmbeddings.open(str(embeddings)))
    return TestCollection(
        str(folder / "index"), model_uri, dict(zip(ids, contents, strict=True)), dict(zip(ids, vectors, strict=True))
    )


def _windows(model: mulan.MuLan, content: bytes) -> np.ndarray:
    return np.stack(list(covering_windows(content, model.window_samples, sample_rate_hz=model.sample_rate_hz)))


def _unit(vector: np.ndarray) -> np.ndarray:
    result: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return result
