"""Recordings are ordered by their ids, and divided into blocks by their numbers of windows alone."""

import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.indexed import in_blocks, indexed_recordings
from mulan.evaluation.errors import EvaluationError
from tests.evaluation.embedding.damaged_recordings import SPLITS


def test_recordings_of_several_splits_are_ordered_by_their_ids(damaged: Corpus) -> None:
    found = indexed_recordings(damaged, ["train", "test", "train"])
    assert [each.recording_id for each in found] == [f"tone-{number:03d}" for number in range(20)]
    assert [each.position for each in found] == list(range(20))
    assert [each.split for each in found] == SPLITS
    rows = {name: row for row, name in enumerate(damaged.table["recording_id"].to_pylist())}
    assert [each.location for each in found] == damaged.locations([rows[each.recording_id] for each in found])


def test_blocks_are_full_but_not_fuller(damaged: Corpus) -> None:
    recordings = indexed_recordings(damaged, ["train", "test"])  # of 2, 3, 4, 2, 3, 4, ... s
    blocks = in_blocks(recordings, windows=9, window_s=1)
    assert [each for block in blocks for each in block] == recordings
    assert [len(block) for block in blocks] == [3] * 6 + [2]
    # of 1, 2, 2, 1, 2, 2, ... windows
    assert [len(block) for block in in_blocks(recordings, windows=3, window_s=2)] == [2] + [2, 1] * 6
    assert [len(block) for block in in_blocks(recordings, windows=1, window_s=1)] == [1] * 20
    assert [len(block) for block in in_blocks(recordings, windows=20, window_s=100)] == [20]


def test_no_recordings_are_an_error_that_names_the_splits(damaged: Corpus) -> None:
    with pytest.raises(EvaluationError, match="no recordings in the splits 'validation', 'dev'"):
        indexed_recordings(damaged, ["validation", "dev"])
    with pytest.raises(EvaluationError, match="none is named"):
        indexed_recordings(damaged, [])
