"""Tests the progress of jobs that make recordings."""

import io
import time

import pytest
from rich.console import Console

from jobs.progress import FoundProgress, RecordingsProgress


def test_progress_is_printed_in_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 15.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with RecordingsProgress("corpus", Console(file=stream)) as progress:
        for done in (4, 10, 15, 120):
            progress(done, 120)
    assert stream.getvalue().splitlines() == [
        "corpus  10/120 recordings  1.0/s  1:50 left",  # ten seconds after the start, six after the first ones
        "corpus  120/120 recordings  7.2/s  0:00 left",  # the last one is always printed
    ]


def test_without_a_finished_recording_no_time_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 12.0, 13.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with RecordingsProgress("corpus", Console(file=stream)) as progress:
        progress(0, 120)
        progress(120, 120)
    assert stream.getvalue().splitlines()[0] == "corpus  0/120 recordings"


def test_an_existing_corpus_has_no_progress() -> None:
    stream = io.StringIO()
    with RecordingsProgress("corpus", Console(file=stream)):
        pass
    assert stream.getvalue() == "corpus  already there\n"


def test_what_is_found_is_printed_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.5, 15.0, 21.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress = FoundProgress("source", Console(file=stream))
    for found in (1, 7, 8, 20):
        progress(found, "folder=/music")
    assert stream.getvalue().splitlines() == [
        "source  folder=/music: 7 recordings so far",
        "source  folder=/music: 20 recordings so far",
    ]
