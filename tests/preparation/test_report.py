"""Tests the report of a preparation, and the lines that a user sees of it."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from mulan.preparation.plan import PreparationPlan, plan
from mulan.preparation.report import check_usable, plan_lines, report, result_lines, scan_lines, scan_report
from mulan.preparation.shards import RESULT_SCHEMA
from mulan.preparation.workspace import PreparationRefused
from tests.preparation.results import result_row
from tests.preparation.sources_of_tests import GivenSource, preparation, tones


@pytest.fixture
def planned(tmp_path: Path) -> PreparationPlan:
    missing = [f"gone {number}" for number in range(7)]
    return plan(preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 8), missing)), write=False)


def rows(*some: dict[str, object]) -> list[pa.Table]:
    return [pa.Table.from_pylist([row], RESULT_SCHEMA) for row in some]


def test_a_scan_is_reported_with_what_is_missing(planned: PreparationPlan) -> None:
    found = scan_report(planned)
    assert found["sources"]["tones=0"]["found"] == 8
    assert found["sources"]["tones=0"]["left_out"]["missing audio"]["count"] == 7
    assert found["splits"] == {"test": 2, "train": 6}
    assert found["shards"] == {"all": 1, "missing": 1}
    lines = list(scan_lines(found))
    assert lines[:3] == [
        "source  tones=0: 8 recordings",
        "        left out, missing audio: 7",
        "          gone 0: there is no gone 0.flac",
    ]
    assert "          and 2 more" in lines
    assert "splits  test 2  train 6" in lines


def test_a_dry_run_says_what_would_be_made_and_shows_samples_of_texts(tmp_path: Path) -> None:
    found = [replace(each, texts={"short_form": ["Tone (Official Video)"]}) for each in tones(tmp_path / "tones", 3)]
    planned = plan(preparation(tmp_path / "corpus", GivenSource(found)), write=False)
    assert list(plan_lines(planned, "/corpus")) == ["would write 3 recordings to /corpus: 1 of 1 shards are missing"]
    lines = list(scan_lines(scan_report(planned), detailed=True))
    assert "          'Tone (Official Video)': 'Tone'" in lines
    assert "          'Tone (Official Video)': 'Tone'" not in list(scan_lines(scan_report(planned)))


def test_all_named_recordings_are_shown_in_a_dry_run(planned: PreparationPlan) -> None:
    lines = list(scan_lines(scan_report(planned), detailed=True))
    assert [line for line in lines if "there is no" in line] == [
        f"          gone {number}: there is no gone {number}.flac" for number in range(7)
    ]
    assert not any("more" in line for line in lines)


def test_the_result_is_reported_by_reason(planned: PreparationPlan) -> None:
    found = rows(
        result_row("a"),
        result_row("b", fault="ends at 3 s"),
        result_row("c", removed_texts=["first!!!", "who is here in 2026"]),
        *(result_row(f"talk {number}", reason="not music") for number in range(3)),
        result_row("d", reason="undecodable audio"),
    )
    result = report(planned, found)
    assert result["recordings"] == 3
    assert result["hours"] == pytest.approx(3 * 30 / 3600)
    assert list(result["left_out"]) == ["not music", "undecodable audio"]
    assert result["left_out"]["undecodable audio"] == {"count": 1, "named": ["d: details of d"]}
    assert result["damaged"] == {"count": 1, "named": ["b: ends at 3 s"]}
    assert result["texts_refused_by_classifier"] == {"count": 2, "samples": ["first!!!", "who is here in 2026"]}
    lines = list(result_lines(result, "/corpus", seconds=2.4))
    assert "        left out, not music: 3" in lines
    assert "        damaged, but long enough: 1" in lines
    assert "texts   classifier: 2 removed" in lines
    assert lines[-1] == "corpus  3 recordings, 0.03 hours, in 2 s: /corpus"


@pytest.mark.parametrize(("bad", "is_refused"), [(2, False), (3, True)])
def test_only_unusable_audio_counts_towards_the_limit(planned: PreparationPlan, bad: int, is_refused: bool) -> None:
    wanted = ["not music", "duplicate audio", "excluded audio"]
    found = rows(
        result_row("a"),
        *(result_row(reason, reason=reason) for reason in wanted),
        *(result_row(f"bad {number}", reason="undecodable audio") for number in range(bad)),
    )
    limit = 2 / (4 + 2)
    if is_refused:
        with pytest.raises(
            PreparationRefused, match=r"3 of 7 recordings cannot be used.*\n  - bad 0: details of bad 0"
        ):
            check_usable("/corpus", planned, report(planned, found), limit)
    else:
        check_usable("/corpus", planned, report(planned, found), limit)


def test_a_corpus_without_usable_recordings_names_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("".join(f"tone-{number:03d}\n" for number in range(8)), encoding="utf-8")
    source = GivenSource(tones(tmp_path / "tones", 8))
    planned = plan(preparation(tmp_path / "corpus", source, exclude=[str(tmp_path / "all.txt")]), write=False)
    with pytest.raises(PreparationRefused, match=r"/corpus: no recording can be used \(excluded: 8\)$"):
        check_usable("/corpus", planned, report(planned, rows()), 0.5)
