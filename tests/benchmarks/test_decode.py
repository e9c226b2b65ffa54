"""Tests that the benchmark of decoding compares two versions."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks import decode
from mulan.benchmarks.decode import bench_decode
from mulan.benchmarks.measure import BenchmarkFailed


@pytest.mark.processes  # compares the versions on the paths of two processes
def test_a_report_compares_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(decode, "FORMATS", ["FLAC, 16 kHz"])
    report = bench_decode(rounds=1, against=Path(__file__).parents[2], progress=lines.append)
    assert len(lines) == len(report.rows) == 1
    assert {"decode_window", "soundfile alone", "the other version", "/ the other"} < set(report.rows[0].figures)
    assert all(0.3 < row.figures["/ the other"].median < 3 for row in report.rows)
    assert len(report.goals) == 1
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["title"] == "Decode"
    (tmp_path / "mulan").mkdir()
    (tmp_path / "mulan" / "__init__.py").write_text("raise ImportError")
    with pytest.raises(BenchmarkFailed, match="the process that decodes with decode_window ended"):
        bench_decode(rounds=1, against=tmp_path, progress=lines.append)
