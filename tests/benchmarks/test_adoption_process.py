"""Tests that the measurement of an adoption counts what it reads."""

from pathlib import Path

from mulan.benchmarks.adoption_process import read_adoption
from mulan.benchmarks.sparse_tars import AUDIO_BYTES, write_sparse_tars
from mulan.data.corpus.index import Corpus


def test_bytes_and_recordings_are_counted(tmp_path: Path) -> None:
    needed = write_sparse_tars(tmp_path / "tars", recordings=60, recordings_per_tar=25)
    reading = read_adoption(tmp_path / "tars", tmp_path / "corpus")
    assert reading.recordings == 60 == Corpus.open(str(tmp_path / "corpus")).table.num_rows
    assert needed < reading.bytes_read < needed + 0.05 * 60 * AUDIO_BYTES
    assert reading.seconds > 0 and reading.cpu_s > 0 and 0 <= reading.memory_mb < 100
