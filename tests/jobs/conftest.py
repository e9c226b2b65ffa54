"""A fixture that runs jobs in this process."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.jobs.called import Job


@pytest.fixture
def job(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    """Runs jobs in an empty folder and in this process, since their imports would take longer than the tests."""
    monkeypatch.chdir(tmp_path)

    def call(name: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.delitem(
            sys.modules, f"jobs.{name}", raising=False
        )  # runpy warns about modules that are imported already
        code = 0
        try:
            runpy.run_module(f"jobs.{name}", run_name="__main__")
        except SystemExit as exited:
            code = int(exited.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
