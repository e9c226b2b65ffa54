"""The vectors of a collection in a folder: Parquet files with a row for each recording, and a file that describes them.

=====================  =========================================================================================
file                   content
=====================  =========================================================================================
``part-*.parquet``     a few hundred recordings each, in ascending order of their ids through all parts
``skipped.parquet``    the recordings that could not be embedded: ``recording_id``, ``uri``, ``reason``, ``detail``
``embeddings.json``    the model, and the names of the parts in their order; written last
=====================  =========================================================================================

A folder without ``embeddings.json`` is unfinished. Columns of a part are described at :func:`part_schema`.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from mulan.config.base import NonNegativeInt, PositiveInt, Section
from mulan.config.errors import MulanError, RecipeError
from mulan.config.parsing import parse_json
from mulan.config.validation import validated
from mulan.data.errors import MAX_FAULTS, one_line
from mulan.storage import filesystem

MANIFEST_NAME = "embeddings.json"
SKIPPED_NAME = "skipped.parquet"
WAVEFORM_BYTES = 200
"""Number of magnitudes in the picture of a recording's waveform."""

Dtype = Literal["float32", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "float16")
"""Types of the numbers of vectors."""

_ROWS_AT_ONCE = 256
_MAX_DIM = 2**16

SKIPPED_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("recording_id", "uri", "reason", "detail")]
)
"""Columns of ``skipped.parquet``."""


class EmbeddingsError(MulanError, ValueError):
    """A folder of embeddings is missing, unfinished or damaged, or has another format."""


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


def part_schema(dim: int, dtype: Dtype, *, windows: bool) -> pa.Schema:
    """Returns the columns of a part; none of them has nulls.

    ====================  ==================================================================================
    column                content
    ====================  ==================================================================================
    ``recording_id``      id, unique in the collection
    ``uri``               absolute path or URI of the file that contains the encoded audio
    ``offset``            first byte of the encoded audio in that file, int64
    ``length``            number of bytes of the encoded audio, int64
    ``extension``         extension of the audio in lower case, without the dot
    ``start_s``           second of the encoded audio at which the recording begins; 0 unless it is a part
    ``duration_s``        duration of the recording in seconds, as it was decoded
    ``title``             title; empty if it is unknown
    ``artist``            artist; empty if it is unknown
    ``tags``              tags, ``category:text``
    ``waveform``          200 bytes: the largest magnitudes in equal parts of the recording, 255 is full scale
    ``embedding``         the vector of the recording, the mean over its windows, [dim]
    ``windows``           the vectors of its windows, [windows, dim]; only with ``windows``
    ``window_starts_s``   second of the recording at which each window begins; only with ``windows``
    ====================  ==================================================================================

    Args:
        dim: Size of a vector.
        dtype: Type of the numbers of vectors.
        windows: Whether there are the columns of windows.
    """
    vector = pa.list_(pa.float32() if dtype == "float32" else pa.float16(), dim)
    columns = {
        "recording_id": pa.string(),
        "uri": pa.string(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "extension": pa.string(),
        "start_s": pa.float64(),
        "duration_s": pa.float64(),
        "title": pa.string(),
        "artist": pa.string(),
        "tags": pa.list_(pa.string()),
        "waveform": pa.binary(WAVEFORM_BYTES),
        "embedding": vector,
    }
    if windows:
        columns |= {"windows": pa.list_(vector), "window_starts_s": pa.list_(pa.float64())}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def part_table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Returns the rows of a part.

    Args:
        columns: Values by column: lists, but for ``embedding``, which is an array [rows, dim], and ``windows``, a list
            of arrays [windows, dim].
        schema: The result of :func:`part_schema`.

    Raises:
        EmbeddingsError: A number of a vector is not finite, or too large for the type of the numbers.
    """
    arrays = {
        field.name: pa.array(columns[field.name], field.type)
        for field in schema
        if field.name not in ("embedding", "windows")
    }
    vector = schema.field("embedding").type
    arrays["embedding"] = _vectors(columns["embedding"], vector)
    if "windows" in schema.names:
        counts = [len(each) for each in columns["windows"]]
        values = np.concatenate([np.zeros((0, vector.list_size), np.float32), *columns["windows"]])
        starts = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        kind = schema.field("windows").type
        arrays["windows"] = pa.ListArray.from_arrays(starts, _vectors(values, vector), type=kind)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _vectors(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    with np.errstate(over="ignore"):
        numbers = np.asarray(values).astype(kind.value_type.to_pandas_dtype()).reshape(-1)
    if not np.isfinite(numbers).all():
        raise EmbeddingsError(
            f"vectors have numbers that are not finite as {kind.value_type}; if it is halffloat, try --dtype float32, "
            "otherwise the training of the model may have diverged"
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind)


def part_name(digest: str) -> str:
    """Returns the name of the file of a part whose content has this digest in hexadecimal."""
    return f"part-{digest}.parquet"


def write_part(folder_uri: str, name: str, table: pa.Table) -> None:
    """Writes a part; readers see either the whole file or none.

    Args:
        folder_uri: Folder of the embeddings.
        name: The result of :func:`part_name`.
        table: The result of :func:`part_table`.

    Raises:
        StorageError, StoragePermanentError: The file cannot be written.
    """
    _write_table(filesystem.join(folder_uri, name), table)


def write_manifest(folder_uri: str, manifest: Manifest, skipped: Sequence[Mapping[str, str]] = ()) -> None:
    """Writes ``skipped.parquet`` and then ``embeddings.json``, after which the embeddings are finished.

    Args:
        folder_uri: Folder of the embeddings, in which all parts are.
        manifest: What the folder contains.
        skipped: Rows of :data:`SKIPPED_SCHEMA`.

    Raises:
        StorageError, StoragePermanentError: A file cannot be written.
    """
    _write_table(filesystem.join(folder_uri, SKIPPED_NAME), pa.Table.from_pylist(list(skipped), SKIPPED_SCHEMA))
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    filesystem.write_atomically(filesystem.join(folder_uri, MANIFEST_NAME), f"{text}\n".encode())


def _write_table(uri: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    filesystem.write_atomically(uri, buffer.getvalue())


@dataclass(frozen=True)
class Embeddings:
    """The finished vectors of a collection."""

    uri: str
    """Absolute path or URI of the folder."""
    manifest: Manifest
    """What the folder contains."""

    @classmethod
    def open(cls, uri: str) -> "Embeddings":
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
            raise EmbeddingsError(f"{where} is damaged: {error}; {_AGAIN}") from error
        stated = values.get("format") if isinstance(values, dict) else None
        if stated != (known := Manifest.model_fields["format"].default):
            raise EmbeddingsError(f"{where} has the format {stated!r:.80}, and this version reads {known}; {_AGAIN}")
        try:
            manifest = validated(Manifest, values, name=where)
        except RecipeError as error:
            raise EmbeddingsError(
                f"{where} is damaged: {'; '.join(map(one_line, error.faults[:MAX_FAULTS]))}; {_AGAIN}"
            ) from error
        missing = sorted({*manifest.parts, SKIPPED_NAME} - set(names))
        if missing:
            more = f" and {len(missing) - MAX_FAULTS} more" if len(missing) > MAX_FAULTS else ""
            raise EmbeddingsError(f"{uri} lacks {', '.join(missing[:MAX_FAULTS])}{more}; {_MAKE_AGAIN}")
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
            for batch in _checked_batches(uri, self.schema):
                ids = batch["recording_id"].to_pylist()
                if any(one >= other for one, other in zip([last, *ids], ids, strict=False)):
                    raise EmbeddingsError(f"{uri} is damaged: its recording ids do not ascend; {_AGAIN}")
                last, count = ids[-1], count + len(ids)
                yield batch
        if count != self.count:
            raise EmbeddingsError(f"{self.uri} has {count} recordings and states {self.count}; {_AGAIN}")


_MAKE_AGAIN = "repeat jobs.embed, which makes again what is missing"
_AGAIN = f"remove the file, and {_MAKE_AGAIN}"


def _unfinished(uri: str, names: Sequence[str]) -> EmbeddingsError:
    if any(name.startswith("part-") for name in names):
        return EmbeddingsError(
            f"the embeddings in {uri} are unfinished: there is no {MANIFEST_NAME}; repeat jobs.embed, which continues"
        )
    missing = f"there is no {MANIFEST_NAME} in it" if names else "there is no such folder, or it is empty"
    return EmbeddingsError(f"{uri} has no embeddings: {missing}; name the folder that jobs.embed has written")


def _checked_batches(uri: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a part, at least one at a time, with the columns of ``schema``."""
    try:
        file = pq.ParquetFile(io.BytesIO(filesystem.read_bytes(uri)), page_checksum_verification=True)
        stated = file.schema_arrow
        wrong = [field.name for field in schema if field.name not in stated.names]
        wrong += [
            field.name for field in schema if field.name not in wrong and stated.field(field.name).type != field.type
        ]
        if wrong:
            raise ValueError(f"columns are missing or of another type: {', '.join(wrong)}")
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=schema.names):
            batch = batch.select(schema.names)
            batch.validate(full=True)
            wrong = [name for name in schema.names if not _is_valid(batch[name])]
            if wrong:
                raise ValueError(f"there are nulls, or numbers that are not finite, in {', '.join(wrong)}")
            if "windows" in schema.names and not _counts(batch, "windows").equals(_counts(batch, "window_starts_s")):
                raise ValueError("a recording has another number of windows than of their starts")
            if batch.num_rows:
                yield batch.cast(schema)
    except MulanError:
        raise
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise EmbeddingsError(f"{uri} is missing or damaged: {one_line(str(error))}; {_AGAIN}") from error


def _counts(batch: pa.RecordBatch, name: str) -> pa.Array:
    return pc.list_value_length(batch[name])


def _is_valid(column: pa.Array) -> bool:
    while not column.null_count and (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        column = column.flatten()
    if column.null_count:
        return False
    return not pa.types.is_floating(column.type) or bool(np.isfinite(column.to_numpy(zero_copy_only=False)).all())
