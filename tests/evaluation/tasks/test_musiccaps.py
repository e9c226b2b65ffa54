"""Tests the counts of the task of MusicCaps on the genuine table."""

from pathlib import Path

from mulan.evaluation.tasks.musiccaps import MUSICCAPS
from tests.evaluation.tasks.genuine import counts_of, musiccaps, random_model, scores_by_set


def test_each_caption_of_the_evaluation_clips_is_a_query_for_them(tmp_path: Path) -> None:
    (scores,) = scores_by_set(MUSICCAPS, random_model(musiccaps(tmp_path)), "retrieval.captions").values()
    assert counts_of(scores, "queries", "recordings", "relevant") == (2_858, 2_858, 2_858)
    assert abs(scores.scores["median_rank"] / 2_858 - 0.5) < 0.04
    assert abs(scores.scores["recall10"] - 10 / 2_858) < 0.005
