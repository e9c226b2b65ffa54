"""Tests the counts of the tasks of Song Describer on the genuine table."""

from pathlib import Path

import pytest

from mulan.evaluation.tasks.song_describer import SONG_DESCRIBER, SONG_DESCRIBER_ALL
from mulan.evaluation.tasks.task import EvaluationTask
from tests.evaluation.tasks.genuine import counts_of, random_model, scores_by_set, song_describer
from tests.public_metadata import expected_counts


@pytest.mark.parametrize(("task", "captions"), [(SONG_DESCRIBER, "valid_rows"), (SONG_DESCRIBER_ALL, "rows")])
def test_each_caption_is_a_query_for_all_tracks(task: EvaluationTask, captions: str, tmp_path: Path) -> None:
    expected = expected_counts()["song_describer"]
    valid = captions == "valid_rows"
    model = random_model(song_describer(tmp_path, valid_only=valid))
    (scores,) = scores_by_set(task, model, "retrieval.captions").values()
    tracks = expected["valid_tracks" if valid else "tracks"]
    assert counts_of(scores, "queries", "recordings", "recordings_with_text", "relevant") == (
        expected[captions],
        tracks,
        tracks,
        expected[captions],
    )
    assert abs(scores.scores["median_rank"] / tracks - 0.5) < 0.06
    assert abs(scores.scores["recall10"] - 10 / tracks) < 0.015
