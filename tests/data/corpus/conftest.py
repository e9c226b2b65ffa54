"""A corpus in three shards."""

from pathlib import Path

import pytest

from mulan.data.corpus.writing import write_corpus
from tests.data.corpus.tars import RECORDINGS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus of :data:`RECORDINGS` with three recordings per shard."""
    folder = tmp_path_factory.mktemp("written")
    write_corpus(iter(RECORDINGS), str(folder), recordings_per_shard=3)
    return folder
