"""Stored vectors of full skill."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.labels import read_labels


@pytest.fixture(scope="session")
def stored_uri(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Vectors of the recordings that are their pitch, so that a probe finds it."""
    folder = tmp_path_factory.mktemp("stored")
    recordings = read_labels(Corpus.open(tiny_corpus), ["train", "validation", "test"]).recordings
    pitches = sorted({each.tags[0] for each in recordings})
    vectors = [np.eye(len(pitches), dtype=np.float32)[pitches.index(each.tags[0])].tolist() for each in recordings]
    table = pa.table({"recording_id": [each.recording_id for each in recordings], "embedding": vectors})
    pq.write_table(table, folder / "pitches.parquet")
    return str(folder / "pitches.parquet")
