"""Tests the counts of the tasks of FMA on small tables of the official layout."""

from pathlib import Path

import pytest

from mulan.evaluation.tasks.fma import FMA_MEDIUM, FMA_SMALL
from mulan.evaluation.tasks.task import EvaluationTask
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.tasks.genuine import counts_of, labelled, random_model, scores_by_set
from tests.preparation.sources import test_fma as official

GENRES = [(10, "Pop"), (12, "Rock"), (15, "Electronic")]
SPLITS = [("training", 9), ("validation", 3), ("test", 6)]


@pytest.mark.parametrize(("task", "subset", "genres"), [(FMA_SMALL, "small", 8), (FMA_MEDIUM, "medium", 16)])
def test_the_clips_of_the_official_splits_are_classified(
    tmp_path: Path, task: EvaluationTask, subset: str, genres: int
) -> None:
    rows, numbers = [], iter(range(200, 300))
    for split, count in SPLITS:
        for row in range(count):
            number, name = GENRES[row % 3]
            fields = {"track_genre_top": name, "track_genres": f"[{number}]", "track_genres_all": f"[{number}]"}
            rows.append(official.track(next(numbers), subset, split, **fields))
    tree = "".join(f"{number},9,0,{name},{number}\n" for number, name in GENRES)
    official.written(tmp_path, official.table(rows), "genre_id,#tracks,parent,title,top_level\n" + tree)
    official.add_audio(tmp_path, [int(row[""]) for row in rows], subset)
    found, faults = official.found(tmp_path, subset=subset)
    assert len(found) == 18 and not faults.left_out
    assert len(vocabulary(f"fma_{subset}").tags) == genres
    model = random_model(labelled(found))
    (zero_shot,) = scores_by_set(task, model, "zero_shot").values()
    assert counts_of(zero_shot, "recordings", "left_out", "tags", "scored_tags", "positives") == (6, 0, genres, 3, 6)
    (probe,) = scores_by_set(task, model, "probes").values()
    assert counts_of(probe, "train_recordings", "validation_recordings", "recordings") == (9, 3, 6)
    assert counts_of(probe, "left_out", "classes", "tested_classes", "untrained_classes") == (0, genres, 3, genres - 3)
