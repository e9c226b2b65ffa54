"""Tests what is measured of runs whose times are known."""

from pathlib import Path

import pytest

from mulan.planning.measured import MIN_STEPS, NotMeasured, check_comparable, measured_steps
from mulan.runs.run import RunError
from tests.monitoring.planted import append, metrics_line, planted
from tests.planning.planned import (
    BETWEEN_S,
    PAUSE_S,
    START_S,
    STEP_S,
    VALIDATION_S,
    miniature_recipe,
    timed_run,
)

EVERY = ("train.steps=20", "train.checkpoint_every_steps=4", "train.validate_every_steps=3")


def test_times_of_steps_and_pauses(tmp_path: Path, tiny_corpus: str) -> None:
    found = measured_steps(timed_run(str(tmp_path), miniature_recipe(tiny_corpus, *EVERY), steps=20))
    assert (found.steps, found.workers, found.pairs) == (10, 2, 16)
    times = (found.step_s, found.between_steps_s, found.validation_s, found.checkpoint_s, found.start_s)
    assert times == pytest.approx((STEP_S, BETWEEN_S, VALIDATION_S, PAUSE_S, START_S))
    assert found.data_wait_share == 0.25
    assert found.pairs_per_s_per_worker == pytest.approx(16 / 2 / (STEP_S + BETWEEN_S))


def test_the_first_half_of_the_steps_does_not_count_for_the_speed(tmp_path: Path) -> None:
    run = planted(str(tmp_path), "run", "scale.workers=2")
    seconds = [9.0, 8.0, 7.0, 2.0, 3.0, 4.0]
    append(run.metrics_uri, [metrics_line(n, 0.0) | {"step_s": s} for n, s in enumerate(seconds, start=1)])
    assert measured_steps(run).step_s == 3.0
    assert measured_steps(run, first_steps=4).step_s == 4.5


def test_what_did_not_happen_is_unknown(tmp_path: Path, tiny_corpus: str) -> None:
    rare = ("train.steps=20", "train.checkpoint_every_steps=8", "train.validate_every_steps=9")
    run = timed_run(str(tmp_path), miniature_recipe(tiny_corpus, *rare), steps=20)
    found = measured_steps(run, first_steps=8)  # the pause after step 8 would be before step 9
    assert (found.validation_s, found.checkpoint_s) == (None, None)
    Path(run.events_uri).unlink()
    assert measured_steps(run).start_s is None


def test_an_interruption_is_no_pause(tmp_path: Path) -> None:
    run = planted(str(tmp_path), "run", "scale.workers=2")
    lines = [metrics_line(n, 0.0 if n < 6 else 5000.0) | {"data_wait_s": 0.5} for n in range(1, 11) if n != 6]
    append(run.metrics_uri, lines)
    assert measured_steps(run).between_steps_s == 0.0


def test_unusable_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run"):
        measured_steps(planted(str(tmp_path), "other").at(str(tmp_path), "none"))
    short = planted(str(tmp_path), "short", "scale.workers=2")
    append(short.metrics_uri, [metrics_line(n, 0.0) for n in range(1, MIN_STEPS)])
    with pytest.raises(NotMeasured, match=f"has {MIN_STEPS - 1} timed steps, and at least {MIN_STEPS} are needed"):
        measured_steps(short)
    elastic = planted(str(tmp_path), "elastic", "scale.workers=[1, 2]")
    append(elastic.metrics_uri, [metrics_line(n, 0.0) for n in range(1, 9)])
    with pytest.raises(NotMeasured, match=r"1 to 2 workers.*fixed scale.workers, or give --pairs-per-s"):
        measured_steps(elastic)


def test_only_fields_that_change_the_speed_of_a_pair_are_refused(tiny_corpus: str) -> None:
    one = miniature_recipe(tiny_corpus)
    other = one.replace(
        {"train.steps": 9, "batch.micro_batches": 4, "scale.workers": 1, "optim.lr": 1.0, "data.uri": "/elsewhere"}
    )
    check_comparable(one, other, run_uri="run")
    check_comparable(one, one.replace({"audio_tower.expects_pretrained": True}), run_uri="run")
    slower = one.replace({"data.window_s": 2.0, "train.precision": "bf16"})
    with pytest.raises(NotMeasured) as refused:
        check_comparable(one, slower, run_uri="run")
    assert str(refused.value).splitlines()[1:] == [
        "  - data.window_s: 1.0 there, 2.0 here",
        "  - train.precision: 'float32' there, 'bf16' here",
    ]
