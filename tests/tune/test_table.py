"""Tests the table of trials in the terminal."""

import io

from rich.console import Console

from tests.tune.sweeps import SPACE, plan_in
from tests.tune.test_summary import swept
from tune.table import trials_table


def test_trials_are_shown_best_first_with_their_states(run_folder: str) -> None:
    result = swept(plan_in(run_folder, space=SPACE))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(trials_table(result.plan, result.outcomes))
    lines = [line.split() for line in console.export_text().splitlines() if "trial_" in line]
    assert [line[1] for line in lines] == ["trial_0001", "trial_0000", "trial_0002", "trial_0003", "trial_0004"]
    assert [line[-2] for line in lines] == ["completed", "completed", "stopped", "diverged", "unfinished"]
    assert "0.500" in lines[0]


def test_states_and_names_are_not_markup(run_folder: str) -> None:
    plan = plan_in(run_folder, space='[space]\n"text_tower.prefix" = { choice = ["[red]x", "y"] }')
    console = Console(width=160, record=True, file=io.StringIO())
    result = swept(plan)
    console.print(trials_table(plan, result.outcomes))
    points = {(one.trial.point or {}).get("text_tower.prefix") for one in result.outcomes[:5]}
    assert ("[red]x" in console.export_text()) == ("[red]x" in points)
    assert "[red]x" in points
