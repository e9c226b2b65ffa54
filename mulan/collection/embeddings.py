"""The vectors of a collection in a folder: Parquet files with a row for each recording, and a file that describes them.

``part-*.parquet`` have a few hundred recordings each (:func:`part_schema`), in ascending order of their ids through all
parts. ``skipped.parquet`` names the recordings that could not be embedded. ``embeddings.json`` is written last: without
it, a folder is unfinished.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from mulan.collection.part import AGAIN, MAKE_AGAIN, checked_batches, write_table
from mulan.collection.part import DTYPES as DTYPES
from mulan.collection.part import WAVEFORM_BYTES as WAVEFORM_BYTES
from mulan.collection.part import Dtype as Dtype
from mulan.collection.part import EmbeddingsError as EmbeddingsError
from mulan.collection.part import part_name as part_name
from mulan.collection.part import part_schema as part_schema
from mulan.collection.part import part_table as part_table
from mulan.collection.part import write_part as write_part
from mulan.config.base import NonNegativeInt, PositiveInt, Section
from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_json
from mulan.config.validation import validated
from mulan.data.errors import MAX_FAULTS, one_line
from mulan.storage import filesystem

MANIFEST_NAME = "embeddings.json"
SKIPPED_NAME = "skipped.parquet"
_MAX_DIM = 2**16

SKIPPED_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("recording_id", "uri", "reason", "detail")]
)
"""Columns of ``skipped.parquet``."""


class EmbeddingModel(Section):
    """The model that has computed the vectors."""

    name: str
    """Short name."""
    uri: str
    """``[KIND=]URI`` from which :func:`mulan.evaluation.encoders.registry.open_encoder` opens it."""
    sha256: str
    """Digest of its content in hexadecimal."""
    sample_rate_hz: PositiveInt
    """Sample rate of its audio in Hz."""
    window_samples: PositiveInt
    """Length of its window in samples."""
    dim: Annotated[int, Field(ge=1, le=_MAX_DIM)]
    """Size d of its vectors."""
    is_unit: bool
    """Whether vectors have the norm 1."""
    embeds_text: bool
    """Whether it embeds text in the same space."""


class Manifest(Section):
    """The content of ``embeddings.json``."""

    format: Literal["mulan-embeddings-v1"] = "mulan-embeddings-v1"
    """Name and version of the format."""
    model: EmbeddingModel
    """The model."""
    dtype: Dtype
    """Type of the numbers of vectors."""
    windows: bool
    """Whether the vectors of the windows are there too."""
    recordings: NonNegativeInt
    """Number of rows of all parts."""
    parts: tuple[Annotated[str, Field(pattern=r"^part-[0-9a-f]+\.parquet$")], ...]
    """Names of the files of the parts, in their order."""
    skipped: dict[str, NonNegativeInt]
    """Number of recordings that could not be embedded, by reason."""
    data: str = ""
    """The collection, ``KIND=URI``."""


def write_skipped(folder_uri: str, skipped: Sequence[Mapping[str, str]]) -> None:
    """Writes ``skipped.parquet``, rows of :data:`SKIPPED_SCHEMA`.

    Raises:
        StorageError, StoragePermanentError: The file cannot be written.
    """
    write_table(filesystem.join(folder_uri, SKIPPED_NAME), pa.Table.from_pylist(list(skipped), SKIPPED_SCHEMA))


def write_manifest(folder_uri: str, manifest: Manifest, skipped: Sequence[Mapping[str, str]] = ()) -> None:
    """Writes ``skipped.parquet`` and then ``embeddings.json``, after which the embeddings are finished.

    Args:
        folder_uri: Folder of the embeddings, in which all parts are.
        manifest: What the folder contains.
        skipped: As of :func:`write_skipped`.

    Raises:
        StorageError, StoragePermanentError: A file cannot be written.
    """
    write_skipped(folder_uri, skipped)
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    filesystem.write_atomically(filesystem.join(folder_uri, MANIFEST_NAME), f"{text}\n".encode())


@dataclass(frozen=True)
class CollectionEmbeddings:
    """The finished vectors of a collection."""

    uri: str
    """Absolute path or URI of the folder."""
    manifest: Manifest
    """What the folder contains."""

    @classmethod
    def open(cls, uri: str) -> "CollectionEmbeddings":
        """Reads ``URI/embeddings.json``, and checks that all parts are there; their content is checked as it is read.

        Raises:
            EmbeddingsError: The folder is missing, unfinished or damaged, or has another format.
            StorageError, StoragePermanentError: The folder cannot be read.
        """
        uri = filesystem.absolute(uri)  # it is passed to processes with other working folders
        names = filesystem.names_in(uri)
        if MANIFEST_NAME not in names:
            raise _unfinished(uri, names)
        where = filesystem.join(uri, MANIFEST_NAME)
        try:
            values = parse_json(filesystem.read_bytes(where))
        except (OSError, ValueError) as error:
            raise EmbeddingsError(f"{where} is damaged: {error}; {AGAIN}") from error
        stated = values.get("format") if isinstance(values, dict) else None
        if stated != (known := Manifest.model_fields["format"].default):
            raise EmbeddingsError(f"{where} has the format {stated!r:.80}, and this version reads {known}; {AGAIN}")
        try:
            manifest = validated(Manifest, values, name=where)
        except RecipeError as error:
            raise EmbeddingsError(
                f"{where} is damaged: {'; '.join(map(one_line, error.faults[:MAX_FAULTS]))}; {AGAIN}"
            ) from error
        missing = sorted({*manifest.parts, SKIPPED_NAME} - set(names))
        if missing:
            more = f" and {len(missing) - MAX_FAULTS} more" if len(missing) > MAX_FAULTS else ""
            raise EmbeddingsError(f"{uri} lacks {', '.join(missing[:MAX_FAULTS])}{more}; {MAKE_AGAIN}")
        return cls(uri, manifest)

    @property
    def model(self) -> EmbeddingModel:
        """The model that has computed the vectors."""
        return self.manifest.model

    @property
    def dtype(self) -> Dtype:
        """Type of the numbers of vectors."""
        return self.manifest.dtype

    @property
    def has_windows(self) -> bool:
        """Whether the vectors of windows are there too."""
        return self.manifest.windows

    @property
    def count(self) -> int:
        """Number of recordings."""
        return self.manifest.recordings

    @property
    def schema(self) -> pa.Schema:
        """The columns of :meth:`batches`."""
        return part_schema(self.model.dim, self.dtype, windows=self.has_windows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows in ascending order of the ids, a few hundred at once; one part is in memory at a time.

        Raises:
            EmbeddingsError: A part is missing or damaged, lacks a column, has numbers that are not finite, or belongs
                elsewhere: ids do not ascend, or their number is not the one that the folder states.
            StorageError, StoragePermanentError: A part cannot be read.
        """
        last, count = "", 0
        for name in self.manifest.parts:
            uri = filesystem.join(self.uri, name)
            for batch in checked_batches(uri, self.schema):
                ids = batch["recording_id"].to_pylist()
                if any(one >= other for one, other in zip([last, *ids], ids, strict=False)):
                    raise EmbeddingsError(f"{uri} is damaged: its recording ids do not ascend; {AGAIN}")
                last, count = ids[-1], count + len(ids)
                yield batch
        if count != self.count:
            raise EmbeddingsError(f"{self.uri} has {count} recordings and states {self.count}; {AGAIN}")


def check_same_collection(folder_uri: str, data: str) -> None:
    """Checks that a folder is not that of the vectors of another collection, which would be replaced.

    Args:
        folder_uri: Folder for the vectors of a collection.
        data: The collection, ``KIND=URI``.

    Raises:
        EmbeddingsError: It has the vectors of another one.
        StorageError, StoragePermanentError: It cannot be read.
    """
    try:
        values = parse_json(filesystem.read_bytes(filesystem.join(folder_uri, MANIFEST_NAME)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return  # unfinished or damaged, and made again
    found = values.get("data") if isinstance(values, dict) else None
    if found and found != data:
        raise EmbeddingsError(
            f"{folder_uri} has the vectors of {found}, which those of {data} would replace; give another folder, or "
            f"remove its {MANIFEST_NAME} if that is what you want, or if the collection has moved"
        )


def _unfinished(uri: str, names: Sequence[str]) -> EmbeddingsError:
    if any(name.startswith("part-") for name in names):
        return EmbeddingsError(
            f"the embeddings in {uri} are unfinished: there is no {MANIFEST_NAME}; repeat jobs.embed, which continues"
        )
    missing = f"there is no {MANIFEST_NAME} in it" if names else "there is no such folder, or it is empty"
    return EmbeddingsError(f"{uri} has no embeddings: {missing}; name the folder that jobs.embed has written")
