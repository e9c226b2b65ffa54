"""Tests which of the recordings that were written become the corpus."""

from pathlib import Path

import pyarrow as pa

from mulan.preparation.exclusion import Exclusions
from mulan.preparation.selection import SelectedResults, kept
from mulan.preparation.settings import DuplicateConfig
from mulan.preparation.shards import RESULT_SCHEMA
from tests.preparation.results import result_row

A, B = "a" * 64, "b" * 64


def results() -> list[pa.Table]:
    rows = [
        [result_row("one", sha256=A), result_row("broken", reason="undecodable audio")],
        [result_row("copy", sha256=A), result_row("two", sha256=B), result_row("in test", sha256=B, split="test")],
    ]
    return [pa.Table.from_pylist(some, RESULT_SCHEMA) for some in rows]


def selected(results: list[pa.Table], exclusions: Exclusions, config: DuplicateConfig) -> pa.Table:
    selection = SelectedResults(results, exclusions, config)
    rows = pa.concat_tables([RESULT_SCHEMA.empty_table(), *selection])
    assert rows == pa.concat_tables([RESULT_SCHEMA.empty_table(), *selection])  # however often it is read
    return rows


def reasons(rows: pa.Table) -> dict[str, tuple[str, str]]:
    return {row["recording_id"]: (row["reason"], row["detail"]) for row in rows.to_pylist()}


def test_copies_are_left_out_and_never_one_in_the_test_split() -> None:
    rows = selected(results(), Exclusions.read([]), DuplicateConfig())
    assert rows.schema == RESULT_SCHEMA
    assert reasons(rows) == {
        "one": ("", ""),
        "broken": ("undecodable audio", "details of broken"),
        "copy": ("duplicate audio", "of one"),
        "two": ("duplicate audio", "of in test"),
        "in test": ("", ""),
    }
    assert kept(rows)["recording_id"].to_pylist() == ["one", "in test"]


def test_copies_are_kept_if_they_may_be() -> None:
    rows = selected(results(), Exclusions.read([]), DuplicateConfig(audio=False))
    assert kept(rows)["recording_id"].to_pylist() == ["one", "copy", "two", "in test"]


def test_audio_is_excluded_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "evaluated.txt").write_text(f"sha256:{A}\n", encoding="utf-8")
    rows = selected(results(), Exclusions.read([str(tmp_path / "evaluated.txt")]), DuplicateConfig())
    assert kept(rows)["recording_id"].to_pylist() == ["in test"]
    assert reasons(rows)["one"] == ("excluded audio", f"sha256:{A}")


def test_no_results_are_no_recordings() -> None:
    assert kept(selected([], Exclusions.read([]), DuplicateConfig())).num_rows == 0


def test_only_equal_hashes_are_copies_of_which_the_beginning_is_equal() -> None:
    rows = [result_row("one", sha256="c" * 64), result_row("other", sha256="c" * 16 + "d" * 48)]
    both = selected([pa.Table.from_pylist(rows, RESULT_SCHEMA)], Exclusions.read([]), DuplicateConfig())
    assert kept(both)["recording_id"].to_pylist() == ["one", "other"]
