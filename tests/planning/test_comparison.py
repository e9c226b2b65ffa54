"""Tests the comparison of predictions with a run of known times."""

from pathlib import Path

import pytest
from rich.console import Console

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.planning import reading_cost
from mulan.planning.comparison import Comparison, compare_run, comparison_table
from mulan.planning.measured import NotMeasured
from mulan.runs.run import Run
from tests.monitoring.planted import append
from tests.planning.planned import miniature_recipe, timed_run

SETTINGS = ("train.steps=20", "train.checkpoint_every_steps=3", "train.validate_every_steps=4")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_cost, "MEASURED_S", 0.0)


def compared(run: Run, recipe: Recipe, *, first_steps: int | None = None) -> dict[str, Comparison]:
    found = compare_run(run, recipe, MicroBatchReader.from_recipe(recipe), first_steps=first_steps)
    return {each.name: each for each in found}


def test_a_run_of_constant_speed_is_predicted_exactly(tmp_path: Path, tiny_corpus: str) -> None:
    """After step 10: 10 steps, validations after 12, 16 and 20, and pauses after 12, 15 and 18."""
    recipe = miniature_recipe(tiny_corpus, *SETTINGS)
    found = compared(timed_run(str(tmp_path), recipe, steps=20), recipe, first_steps=10)
    rest = found["steps 11 to 20, with validations and pauses for checkpoints"]
    assert rest.measured == pytest.approx(10 * 2.25 + 3 * 5 + 3 * 0.75)
    assert rest.predicted == pytest.approx(rest.measured)
    read = found["steps that read the planned recordings, of those checked"]
    assert (read.predicted, read.measured) == (20, 20)
    assert found["bytes of a checkpoint"].ratio is None  # the planted run has none
    readers = found["CPU time for reading and decoding"]
    assert readers.ratio is None
    assert readers.measured == pytest.approx(2 * (19 * 2.25 + 5 * 5 + 6 * 0.75))


def test_only_the_first_steps_are_used(tmp_path: Path, tiny_corpus: str) -> None:
    """The later steps of the first run took as long as the others, those of the second ten times as long."""
    recipe = miniature_recipe(tiny_corpus, *SETTINGS)
    run = timed_run(str(tmp_path), recipe, steps=20)
    lines = run.metrics()
    before = compared(run, recipe, first_steps=10)["pairs per second"]
    Path(run.metrics_uri).unlink()
    slow = [line | {"step_s": 20.0 if line["step"] > 10 else line["step_s"]} for line in lines]
    append(run.metrics_uri, slow)
    after = compared(run, recipe, first_steps=10)["pairs per second"]
    assert (after.predicted, after.measured) == (before.predicted, before.measured / 10)


def test_other_recordings_are_noticed(tmp_path: Path, tiny_corpus: str) -> None:
    recipe = miniature_recipe(tiny_corpus, *SETTINGS)
    run = timed_run(str(tmp_path), recipe, steps=20)
    found = compared(run, recipe.replace({"train.seed": 1}), first_steps=10)
    assert found["steps that read the planned recordings, of those checked"].measured == 0


@pytest.mark.parametrize(("steps", "first_steps"), [(19, 10), (20, 3), (20, 20)])
def test_unfit_runs_and_numbers_are_refused(tmp_path: Path, tiny_corpus: str, steps: int, first_steps: int) -> None:
    recipe = miniature_recipe(tiny_corpus, *SETTINGS)
    run = timed_run(str(tmp_path), recipe, steps=steps)
    with pytest.raises(NotMeasured, match=r"compare a finished run|--first-steps"):
        compared(run, recipe, first_steps=first_steps)


def test_a_resumed_run_is_refused(tmp_path: Path, tiny_corpus: str) -> None:
    recipe = miniature_recipe(tiny_corpus, *SETTINGS)
    run = timed_run(str(tmp_path), recipe, steps=20)
    append(run.events_uri, [{"time": 2e9, "step": 9, "event": "2 workers continue from step 9", "from_step": 9}])
    with pytest.raises(NotMeasured, match="was interrupted"):
        compared(run, recipe, first_steps=10)


def test_the_table_has_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=120).print(comparison_table([Comparison("time", "s", 3.0, 4.0), Comparison("kept", "", 3, 0)]))
    words = capsys.readouterr().out.split()
    assert "0.750" in words
    assert words.count("│") == 2 * 6 and "inf" not in words
