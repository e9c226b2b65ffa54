"""Tests what the driver says of reports that the first worker has no part in."""

from pathlib import Path

from mulan.instrumentation.hang_reports import HangReports, hangs_uri
from mulan.storage import filesystem


def write(run_uri: str, attempt: str, step: int, *ranks: int) -> str:
    uri = f"{hangs_uri(run_uri)}/{attempt}/step_{step}"
    for rank in ranks:
        for name in (f"rank_{rank}.txt", f"flight_recorder_rank_{rank}"):
            filesystem.write_atomically(f"{uri}/{name}", b"-")
    return uri


def test_a_step_that_only_other_workers_report_is_named_once(storage_uri: str) -> None:
    write(storage_uri, "2026-01-01", 3, 1)  # of an earlier driver
    reports = HangReports(storage_uri, patience_s=0.0)
    assert reports.new_lines() == []
    write(storage_uri, "2026-01-02", 5, 0, 1)  # the first worker has recorded it as an event
    uri = write(storage_uri, "2026-01-02", 7, 2, 1)
    (line,) = reports.new_lines()
    assert line.startswith("a step hangs, and rank 0 reports nothing: ") and line.endswith(
        f"stacks of rank 1, 2: {uri}"
    )
    assert reports.new_lines() == []


def test_the_first_worker_has_time_to_report(storage_uri: str) -> None:
    reports = HangReports(storage_uri, patience_s=60.0)
    write(storage_uri, "2026-01-02", 7, 1)
    assert reports.new_lines() == []


def test_a_name_in_the_folder_cannot_change_the_terminal(tmp_path: Path) -> None:
    reports = HangReports(str(tmp_path), patience_s=0.0)
    write(str(tmp_path), "2026-01-02\x1b[31m", 7, 1)
    (line,) = reports.new_lines()
    assert line.isprintable() and r"2026-01-02\x1b[31m" in line
