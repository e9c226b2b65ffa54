"""Tests what the page of a run says."""

from dataclasses import replace

from mulan.monitoring.line_sample import LineSample
from mulan.monitoring.live_page import render_live
from mulan.monitoring.live_report import LiveContent
from mulan.monitoring.status import RunState, RunStatus
from tests.monitoring.planted import metrics_line

NOW = 1_800_000_000.0
WAITING = RunStatus("run", "s3://bucket/my runs/run", RunState.WAITING, steps=20, score_name="recall@10")


def page(status: RunStatus, *, steps: int = 0) -> str:
    lines = LineSample()
    lines.add(metrics_line(step) for step in range(1, steps + 1))
    events = ((NOW - 60, "an early event"), (NOW, "a later event"))
    return render_live(LiveContent(status, lines, events, "[train]\nsteps = 20\n", "recall10"), now=NOW)


def test_a_run_without_steps_has_a_page_without_curves() -> None:
    found = page(WAITING)
    assert "run: <span" in found and "waiting for workers" in found and "<img" not in found
    assert "As of 2027-01-15 08:00:00 UTC" in found
    assert found.index("a later event") < found.index("an early event")
    assert "steps = 20" in found


def test_a_run_with_steps_has_cards_a_bar_and_curves() -> None:
    status = RunStatus(
        "run", "/runs/run", RunState.RUNNING, step=5, steps=20, loss=3.5, left_s=130.0, pairs_per_s=8.0, score=0.25,
        score_name="recall@10", best_score=0.5, best_step=3,
    )  # fmt: skip
    found = page(status, steps=5)
    assert found.count("<img") == 6
    for text in ("25% of 20 steps", "2 min 10 s", "8.0 pairs/s", "3.500", "0.250", "best 0.500 at step 3"):
        assert text in found
    assert 'aria-valuenow="5"' in found and "width: 25.0%" in found


def test_texts_of_a_run_are_escaped() -> None:
    lines = LineSample()
    hostile = "<script>alert(1)</script>\ud800"
    lines.add([metrics_line(1) | {f"loss_{hostile}": 1.0, "loss_b": 1.0, "validation": {hostile: 0.5}}])
    status = replace(WAITING, reason=hostile, last_failure=hostile, failures=1, skipped_recordings={hostile: 1})
    found = render_live(LiveContent(status, lines, ((NOW, hostile),), hostile, hostile), now=NOW)
    assert "<script" not in found and found.count("&lt;script&gt;") >= 6
    found.encode()


def test_a_finished_run_says_how_it_is_evaluated() -> None:
    status = RunStatus("run", WAITING.uri, RunState.FINISHED, step=20, steps=20, score_name="recall@10")
    assert "python -m jobs.evaluate --storage &#39;s3://bucket/my runs&#39; --name run" in page(status)
