"""Tests the benchmark of preparing: its recordings, and how rates follow from readings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import soundfile

from mulan.benchmarks import preparation
from mulan.benchmarks.preparation import SECONDS, bench_preparation, write_recordings
from mulan.benchmarks.process_tree import ProcessReading


def test_recordings_have_all_formats_and_repeat(tmp_path: Path) -> None:
    with patch.object(preparation, "SECONDS", 0.5), patch.object(preparation, "_DIFFERENT", 1):
        write_recordings(tmp_path / "recordings", 10)
    paths = sorted((tmp_path / "recordings").iterdir())
    assert [path.suffix for path in paths] == [".mp3", ".flac", ".ogg", ".wav"] * 2 + [".mp3", ".flac"]
    assert paths[1].read_bytes() == paths[5].read_bytes() == paths[9].read_bytes()
    assert soundfile.info(paths[1]).channels == 2
    assert SECONDS > 60


def test_the_rate_is_that_of_the_recordings_that_the_larger_size_has_in_addition(tmp_path: Path) -> None:
    """The command takes 10 s and 0.1 s for each recording, and the libraries 0.08 s: the processes are replaced."""
    commands: list[Sequence[str]] = []

    def reading(command: Sequence[str], **_: Any) -> ProcessReading:
        commands.append(command)
        count = len(list(Path(command[command.index("--source") + 1].partition("=")[2]).iterdir()))
        Path(command[command.index("--out") + 1]).mkdir()
        return ProcessReading(10 + 0.1 * count, 1.0, 9, 0, peak_memory_mb=900 + count)

    with (
        patch.object(preparation, "read", reading),
        patch.object(preparation, "in_fresh_process", lambda *_, **__: f"{0.08 * 80}\n"),
        patch.object(preparation, "SECONDS", 0.5),
    ):
        report = bench_preparation(rounds=2, recordings=8, progress=lambda _: None)
    assert len(commands) == 4
    rates = report.rows[0].figures
    assert rates["rate"].median == pytest.approx(10)
    assert rates["/ libraries"].median == pytest.approx(0.8)
    assert rates["start"].median == pytest.approx(10)
    assert [goal.met for goal in report.goals[1:]] == [True, True]
    assert report.rows[-1].figures["peak memory"].median == 980
