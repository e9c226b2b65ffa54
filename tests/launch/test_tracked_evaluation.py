"""Tests what trackers receive of an evaluation: every score of the report under the name of a scalar."""

from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.report.assembly import WrittenReport
from mulan.evaluation.report.embedding_map import embedding_map
from mulan.evaluation.report.summary import summarize
from mulan.launch.tracked_evaluation import evaluation_results
from tests.evaluation.report.planted_report import encoder_info, planted_recordings, planted_scores, planted_tasks

MODELS = ("ours", "theirs")


def test_scores_tables_and_files() -> None:
    ours = [
        SetScores("zero_shot", "drum & bass", {"map": 0.5, "roc_auc": float("nan")}),
        SetScores("retrieval.captions", "long_form", {"recall10": 0.25}),
    ]
    theirs = [SetScores("zero_shot", "drum & bass", {"map": 0.75})]
    summary = summarize(
        {"ours": ours, "theirs": theirs}, models=[encoder_info(name) for name in MODELS], tasks=planted_tasks()
    )
    results = evaluation_results(WrittenReport(summary, ()), "s3://bucket/run")
    assert results.scores == {
        "evaluation/zero_shot/drum _ bass/map": 0.5,
        "evaluation/retrieval/captions/long_form/recall10": 0.25,
    }
    table = results.tables["evaluation/scores"]
    assert list(table.columns) == ["model", "section", "set_name", "score", "value", "low", "high"]
    assert [tuple(row) for row in table.rows] == [
        ("ours", "zero_shot", "drum & bass", "map", 0.5, None, None),
        ("ours", "zero_shot", "drum & bass", "roc_auc", None, None, None),
        ("ours", "retrieval.captions", "long_form", "recall10", 0.25, None, None),
        ("theirs", "zero_shot", "drum & bass", "map", 0.75, None, None),
    ]
    assert results.pictures == {}
    assert results.file_uris == ["s3://bucket/run/report.html", "s3://bucket/run/report.json"]


def test_intervals_and_pictures() -> None:
    scores = planted_scores()
    summary = summarize(scores, models=[encoder_info(name) for name in scores], tasks=planted_tasks())
    drawn = embedding_map(planted_recordings(), title="songs")
    results = evaluation_results(WrittenReport(summary, (drawn,)), "/run")
    row = results.tables["evaluation/scores"].rows[0]
    low, high = summary["zero_shot"][row[2]]["intervals"][row[3]]
    assert (row[5], row[6]) == (low, high)
    assert low < row[4] < high  # type: ignore[operator]
    assert list(results.pictures) == ["evaluation/map_1", "evaluation/robustness"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in results.pictures.values())
    assert results.pictures["evaluation/map_1"].caption == drawn.alt
