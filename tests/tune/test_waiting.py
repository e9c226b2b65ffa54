"""What a sweep tells while its trials wait for nodes."""

import pytest

from mulan.config.sections import Scale
from tune import waiting
from tune.waiting import Waiting


def test_a_line_tells_what_trials_wait_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    answers = iter(["2 workers", None, "1 worker"])
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    monkeypatch.setattr(waiting, "waited_for", lambda scale: next(answers))
    told = Waiting(Scale())
    for seconds in (1, 29, 10, 20, 30, 29):
        now += seconds
        told.on_step_end(1, [])
    assert capsys.readouterr().out.splitlines() == ["tune  waiting for 2 workers", "tune  waiting for 1 worker"]
