"""A corpus with damaged recordings."""

import pytest

from mulan.data.corpus.index import Corpus
from tests.evaluation.embedding.damaged_recordings import recordings, write


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twenty recordings of two splits, written in the reverse order of their ids; two cannot be decoded."""
    return write(str(tmp_path_factory.mktemp("damaged")), recordings()[::-1])
