"""Parquet files with what a network that was trained end to end predicts for the recordings that are scored.

A file has one row for each recording: ``recording_id``, and ``prediction``, a list with a float64 for each output: the
mean over windows of the probability of a tag, of the logarithm of that of a class, or a number. The key ``mulan`` of
the schema's metadata is a JSON object that says what was trained, and what was chosen on the validation split.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mulan.config.errors import MulanError
from mulan.config.parsing import parse_json
from mulan.storage import filesystem

_METADATA = b"mulan"


class UnusablePredictionFile(MulanError, ValueError):
    """A file of predictions is damaged, or was computed from something else."""


@dataclass(frozen=True, eq=False)
class NetworkPredictions:
    """What a network predicts, and how it was chosen."""

    recording_ids: tuple[str, ...]
    """Ids of the recordings."""
    values: np.ndarray
    """Predictions, float64 [recordings, outputs]."""
    chosen: Mapping[str, Any]
    """What was chosen on the validation split, as values of JSON."""


def write_predictions(uri: str, predictions: NetworkPredictions, computed_from: Mapping[str, Any]) -> None:
    """Writes a file; readers see either the whole file or none.

    Raises:
        StorageError, StoragePermanentError: The file could not be written.
    """
    stated = {"computed_from": dict(computed_from), "chosen": dict(predictions.chosen)}
    outputs = predictions.values.shape[1]
    values = pa.FixedSizeListArray.from_arrays(pa.array(predictions.values.reshape(-1)), outputs)
    table = pa.table({"recording_id": pa.array(predictions.recording_ids, pa.string()), "prediction": values})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_METADATA: json.dumps(stated).encode()}), buffer, compression="zstd")
    filesystem.write_atomically(uri, buffer.getvalue())


def read_predictions(uri: str, *, computed_from: Mapping[str, Any], recording_ids: Sequence[str]) -> NetworkPredictions:
    """Reads a file that :func:`write_predictions` has written.

    Args:
        uri: Path or URI of the file.
        computed_from: What its predictions must have been computed from.
        recording_ids: The recordings that it must have.

    Raises:
        UnusablePredictionFile: It is damaged, or was computed from something else.
        StorageError, StoragePermanentError: Its storage failed.
    """
    content = filesystem.read_bytes(uri)
    try:
        table = pq.read_table(io.BytesIO(content))
        table.validate(full=True)
        stated = parse_json(table.schema.metadata[_METADATA])
        column = table["prediction"].combine_chunks()
        values = column.flatten().to_numpy().reshape(-1, column.type.list_size)
        names = tuple(table["recording_id"].to_pylist())
        is_same = stated["computed_from"] == dict(computed_from) and names == tuple(recording_ids)
        if not is_same or not np.isfinite(values).all():
            raise ValueError("it was computed from something else than its name says")
        return NetworkPredictions(names, values, stated["chosen"])
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise UnusablePredictionFile(f"{uri} is no file of predictions, or is damaged: {error}") from error
