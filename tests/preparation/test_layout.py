"""Tests which files of a folder are those of prepared corpora."""

from mulan.preparation.layout import is_settings, without_corpora


def test_files_of_corpora_are_left_out_wherever_they_are() -> None:
    own = ["preparation/x.json", "shards/a.csv", "index.parquet", "a/index.parquet", "a/shards-old/b.csv", "b.csv"]
    assert without_corpora(own) == own
    settings = ["c/d/preparation/settings.json", "c/d/index.parquet", "c/d/shards/0.tar", "c/d/preparation/r.parquet"]
    assert without_corpora([*own, *settings, "c/index.parquet", "c/d/a.csv"]) == [*own, "c/index.parquet", "c/d/a.csv"]
    assert without_corpora([*own, "preparation/settings.json"]) == ["a/index.parquet", "a/shards-old/b.csv", "b.csv"]


def test_settings_are_known_by_their_whole_path() -> None:
    assert is_settings("preparation/settings.json")
    assert is_settings("a/preparation/settings.json")
    assert not is_settings("my-preparation/settings.json")
    assert not is_settings("settings.json")
