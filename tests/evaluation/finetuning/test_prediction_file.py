"""Tests that predictions are read as written, and only for what they were computed from."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mulan.evaluation.finetuning.prediction_file import (
    NetworkPredictions,
    UnusablePredictionFile,
    read_predictions,
    write_predictions,
)

NAMES = ("b", "a", "c")
PREDICTIONS = NetworkPredictions(NAMES, np.random.default_rng(0).normal(size=(3, 4)), {"epoch": 3, "quality": None})
FROM = {"key": "k", "settings": {"rates": [1e-4]}}


def test_predictions_are_read_as_written(tmp_path: Path) -> None:
    uri = str(tmp_path / "new" / "p.parquet")
    write_predictions(uri, PREDICTIONS, FROM)
    read = read_predictions(uri, computed_from=FROM, recording_ids=NAMES)
    assert (read.recording_ids, read.chosen) == (NAMES, PREDICTIONS.chosen)
    np.testing.assert_array_equal(read.values, PREDICTIONS.values)
    assert pq.read_table(uri).to_pydict()["prediction"] == PREDICTIONS.values.tolist()


def test_other_and_damaged_files_are_not_used(tmp_path: Path) -> None:
    uri = str(tmp_path / "p.parquet")
    write_predictions(uri, PREDICTIONS, FROM)
    with pytest.raises(UnusablePredictionFile, match="from something else"):
        read_predictions(uri, computed_from={**FROM, "key": "l"}, recording_ids=NAMES)
    with pytest.raises(UnusablePredictionFile, match="from something else"):
        read_predictions(uri, computed_from=FROM, recording_ids=("a", "b", "c"))
    Path(uri).write_bytes(b"PAR1 no more")
    with pytest.raises(UnusablePredictionFile, match="damaged"):
        read_predictions(uri, computed_from=FROM, recording_ids=NAMES)
