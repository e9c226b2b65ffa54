"""Tests that a synthetic index has the rows that were asked for, and is valid."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulan.benchmarks import synthetic_index
from mulan.benchmarks.synthetic_index import SyntheticRows, write_synthetic_index
from mulan.data.corpus.index import Corpus


def test_rows_are_those_of_a_large_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_index, "_ROWS_AT_ONCE", 3000)
    write_synthetic_index(str(tmp_path), 10_000)
    corpus = Corpus.open(str(tmp_path))
    assert corpus.recordings == 10_000
    assert pa.concat_tables(SyntheticRows(10_000)).num_rows == 10_000
    assert pa.concat_tables(SyntheticRows(100)) == pa.concat_tables(SyntheticRows(100))
    sizes = {source: len(rows) for source, rows in corpus.rows_by_source("train").items()}
    assert sizes["short_form"] == len(corpus.rows("train")) == sizes["tags"] < 10_000
    assert 0.45 < sizes["long_form"] / 10_000 < 0.55 and 0.03 < sizes["audioset"] / 10_000 < 0.07
    last = corpus.locations([0, 1023, 1024, 9999])
    assert [location.uri.rpartition("/")[2] for location in last] == [
        "000000.tar",
        "000000.tar",
        "000001.tar",
        "000009.tar",
    ]
    assert last[1].offset == 1023 * last[1].length and last[2].offset == 0
    assert np.unique([len(name) for name in corpus.recording_ids(range(100))]).tolist() == [11]
