"""Tests the kinds of benchmarks: invalid requests are refused before the first measurement."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.bench import KINDS
from tests.jobs.called import Job, assert_refused

BLOCKED = """
import sys
from pathlib import Path
for name in {blocked}:
    sys.modules[name] = None  # makes its import fail
sys.argv = ["jobs.bench", *{arguments}]
from jobs.bench import main
main()
imported = sorted(name for name in sys.modules if name.partition(".")[0] in {blocked} and sys.modules[name] is not None)
assert not imported, imported
"""


@pytest.mark.long(group="layouts")
@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [
        ["step", "--recipe", "m_resnet50_audioset_miniature", "--rounds", "1", "--steps", "1"],
        ["loss", "--pairs", "32", "--memory-pairs", "64", "--rounds", "1"],
        ["gpu", "--device", "cpu", "--minutes", "5", "--rounds", "1", "--folder", "{folder}"],
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_some_kinds_run_without_ray_deepspeed_and_decoders(arguments: list[str], tmp_path: Path) -> None:
    blocked = ["ray", "deepspeed", "av", "soundfile", "soxr", "s3fs"]
    words = [word.format(folder=tmp_path) for word in arguments]
    code = BLOCKED.format(blocked=blocked, arguments=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "goal" in done.stdout


def test_every_kind_has_its_help(job: Job) -> None:
    for kind in KINDS:
        code, out, err = job("bench", kind, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: jobs.bench {kind} ")
        assert "--rounds" in out and "--json" in out


def test_a_report_is_printed_and_written(job: Job, tmp_path: Path) -> None:
    """Uses the calculated benchmark, which measures nothing."""
    sizes = ["--set", "batch.micro_batches=8", "--set", "batch.pairs_per_micro_batch=4"]
    words = ["--recipe", "m_resnet50_audioset_miniature", *sizes, "--json", "reports/sums.json"]
    code, out, err = job("bench", "sums", "--calculate", *words)
    assert (code, err) == (0, "")
    report = json.loads((tmp_path / "reports" / "sums.json").read_text())
    assert report["rows"]
    for row in report["rows"]:
        assert row["name"] in out
    assert sum(("met" in line or "MISSED" in line) and "goal" in line for line in out.splitlines()) == len(
        report["goals"]
    )


def test_a_file_for_the_report_is_checked_first(job: Job, tmp_path: Path) -> None:
    assert_refused(job("bench", "start", "--json", "x" * 300), "cannot be written: File name too long")
    (tmp_path / "folder").mkdir()
    code, out, err = job("bench", "start", "--json", "folder")
    assert (code, out, err) == (2, "", "error: --json folder: is a folder; give a file\n")


@pytest.mark.parametrize("kind", ["loss", "start"])
def test_a_number_of_rounds_is_positive(job: Job, kind: str) -> None:
    assert_refused(job("bench", kind, "--rounds", "0"), "--rounds 0: at least 1")
