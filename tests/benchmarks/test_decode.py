"""The decoder's benchmark: its windows are those of the recordings, and a report compares two versions."""

import json
from pathlib import Path

import numpy as np
import pytest

from mulan.benchmarks import decode
from mulan.benchmarks.decode import bench_decode
from mulan.benchmarks.decode_process import FORMATS, RATE_HZ, by_mulan, by_soundfile, encoded
from mulan.benchmarks.measure import BenchmarkFailed


@pytest.mark.parametrize("form", FORMATS)
def test_both_ways_decode_the_same_window(form: str) -> None:
    audio = encoded(*FORMATS[form], seconds=3)
    ours, plain = np.zeros(RATE_HZ, np.int16), np.zeros(RATE_HZ, np.int16)
    by_mulan(audio, ours, 0.37)
    by_soundfile(audio, plain, 0.37)
    inner = slice(200, -200)  # soundfile's window is resampled without what is around it
    # the start of one is a sample, and that of the other a frame
    assert np.abs(ours[inner].astype(int) - plain[inner]).max() < 0.03 * np.abs(ours).max() + 900
    assert np.corrcoef(ours[inner], plain[inner])[0, 1] > 0.98


@pytest.mark.processes  # what is compared are the packages that two processes find on their paths
def test_a_report_compares_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(decode, "FORMATS", ["FLAC, 16 kHz"])
    report = bench_decode(rounds=1, against=Path(__file__).parents[2], progress=told.append)
    assert len(told) == len(report.rows) == 1
    assert {"decode_window", "soundfile alone", "the other version", "/ the other"} < set(report.rows[0].figures)
    assert all(0.3 < row.figures["/ the other"].median < 3 for row in report.rows)
    assert len(report.goals) == 1
    report.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["title"] == "Decode"
    (tmp_path / "mulan").mkdir()
    (tmp_path / "mulan" / "__init__.py").write_text("raise ImportError")
    with pytest.raises(BenchmarkFailed, match="decodes by decode_window ended"):
        bench_decode(rounds=1, against=tmp_path, progress=told.append)
