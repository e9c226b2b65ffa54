"""The rows of Parquet and Arrow files, without the audio that they contain."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mulan.preparation.columnar import Column, ColumnarReader, DamagedTable

AUDIO_NAMES = ("path", "uri", "file", "audio", "filename", "file_name", "audio_path", "audio_file", "filepath")
"""Usual names of the column with the audio or its path, in the order in which they are looked for."""

_BATCH_ROWS = 1024


@dataclass(frozen=True)
class AudioColumn:
    """The column of a table that locates the audio."""

    name: str
    path: Column | None
    """Column with the paths of the audio files; None if there are only bytes."""
    embedded: bool
    """Whether the table contains the encoded audio, in a column of bytes or of structs with ``bytes``."""


def audio_name(names: Sequence[str], chosen: str) -> str | None:
    """Returns the name of the column that locates the audio, in any case of letters; None if there is none.

    Args:
        names: Names of all columns.
        chosen: Name that the user has chosen; empty for the first of :data:`AUDIO_NAMES`.
    """
    by_lowered = {name.lower(): name for name in reversed(names)}
    wanted = (chosen.lower(),) if chosen else AUDIO_NAMES
    return next((by_lowered[name] for name in wanted if name in by_lowered), None)


def audio_column(reader: ColumnarReader, chosen: str) -> AudioColumn | None:
    """Returns the column that locates the audio of a file; None if there is none.

    A column of the type Audio of Hugging Face is preferred, then one that contains bytes, then one that names files.

    Args:
        reader: The file.
        chosen: Name that the user has chosen; empty for the usual ones.

    Raises:
        DamagedTable, FileNotFoundError, StorageError, StoragePermanentError: The file cannot be read.
    """
    schema = reader.schema
    typed = [name for name, feature in _features(schema).items() if _kind_of(feature) == "Audio"]
    containing = [field.name for field in schema if _contains_bytes(field.type)]
    candidates = [schema.names] if chosen else [containing, schema.names]
    named = (audio_name(names, chosen) for names in candidates)
    preferred = [] if chosen else [name for name in typed if name in schema.names]
    name = next((name for name in (*preferred, *named) if name is not None), None)
    if name is None:
        return None
    kind = schema.field(name).type
    if pa.types.is_struct(kind):
        path = (name, "path") if kind.get_field_index("path") >= 0 else None
        return AudioColumn(name, path, _contains_bytes(kind) and reader.has_values((name, "bytes")))
    embedded = _contains_bytes(kind)
    return AudioColumn(name, None if embedded else (name,), embedded)


def columnar_rows(uri: str, audio: AudioColumn) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """Yields the rows of a file: the number of each, from 0, its values by name, and the path of its audio or None.

    Columns that cannot be texts (bytes, times, lists of fractions) are not read. The integers of Hugging Face's
    class labels are replaced by their names.

    Raises:
        DamagedTable, FileNotFoundError, StorageError, StoragePermanentError: The file cannot be read.
    """
    with ColumnarReader(uri) as unprojected:
        schema = unprojected.schema
    names = [field.name for field in schema if field.name != audio.name and _may_be_text(field.type)]
    labels = {name: _labels(feature) for name, feature in _features(schema).items()}
    columns: list[Column] = [(name,) for name in names]
    columns.append(audio.path or _smallest(schema, audio))
    with ColumnarReader(uri, columns, batch_rows=_BATCH_ROWS) as reader:
        for first, arrays in reader.batches():
            *values, paths = arrays
            listed = [
                _decoded(_values(name, first, array), labels.get(name))
                for name, array in zip(names, values, strict=True)
            ]
            found = _values(audio.name, first, paths) if audio.path else [None] * len(paths)
            for index, path in enumerate(found):
                row = {name: column[index] for name, column in zip(names, listed, strict=True)}
                yield first + index, row, path


def _values(name: str, first: int, array: pa.Array) -> list[Any]:
    """Returns the values of a column from row ``first`` on; raises DamagedTable if a text is not UTF-8."""
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError as error:  # other programs write texts of any encoding
        rows = f"rows {first} to {first + len(array) - 1}"
        raise DamagedTable(f"column {name} has a text that is not UTF-8 in {rows}: {error}") from error
    return values


def _smallest(schema: pa.Schema, audio: AudioColumn) -> Column:
    """Returns a column that tells the number of rows of a file whose audio has no path."""
    others = [field.name for field in schema if field.name != audio.name and _may_be_text(field.type)]
    return (others[0] if others else audio.name,)


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """Returns the types of the columns that Hugging Face's ``datasets`` has stored with the schema."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])
        features = stored["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind_of(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _labels(feature: Any) -> list[str] | None:
    """Returns the names of a class label, or of a list of class labels; None for other types."""
    if isinstance(feature, list) and len(feature) == 1:  # an older form of a list
        feature = feature[0]
    if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    names = feature.get("names") if _kind_of(feature) == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _decoded(values: list[Any], labels: list[str] | None) -> list[Any]:
    if labels is None:
        return values

    def name(value: Any) -> Any:
        if isinstance(value, list):
            return [name(item) for item in value]
        known = isinstance(value, int) and 0 <= value < len(labels)
        return labels[value] if known else None  # -1 is an unknown label

    return [name(value) for value in values]


def _may_be_text(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _may_be_text(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return _may_be_text(kind.value_type) and not types.is_floating(kind.value_type)
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return types.is_struct(kind) or types.is_null(kind) or any(is_kind(kind) for is_kind in plain)


def _contains_bytes(kind: pa.DataType) -> bool:
    """Returns whether a column of a type contains bytes, itself or as the field ``bytes`` of structs."""
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
