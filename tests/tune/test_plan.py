"""Tests that a sweep of one name always searches the same."""

import pytest

from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile
from tests.tune.sweeps import SPACE, plan_in
from tune.errors import SweepError


def test_the_same_search_is_accepted_and_another_refused(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE)
    plan.check()
    plan.write()
    plan_in(run_folder, space=SPACE).check()
    other = plan_in(run_folder, space=SPACE.replace("[4, 8]", "[4, 16]").replace("randint", "uniform"), method="optuna")
    with pytest.raises(SweepError) as raised:
        other.check()
    assert str(raised.value).splitlines()[1:] == [
        "  - search: random there, optuna here",
        "  - space audio_tower.stem_channels: {'choice': [4, 8]} there, {'choice': [4, 16]} here",
        "  - space optim.warmup_steps: {'randint': [0, 3]} there, {'uniform': [0, 3]} here",
    ]
    with pytest.raises(SweepError, match="objectives step_seconds: nothing there, min here"):
        plan_in(run_folder, space=SPACE, objectives=["recall10=max", "step_seconds=min"]).check()


def test_a_sweep_is_not_begun_in_the_folder_of_a_run(run_folder: str) -> None:
    plan = plan_in(run_folder)
    filesystem.write_atomically(plan.run.metrics_uri, b"")
    with pytest.raises(SweepError, match=f"{plan.run.uri} is a run; give the sweep another --name"):
        plan.check()


def test_damaged_and_earlier_sweeps_are_refused(run_folder: str) -> None:
    plan = plan_in(run_folder)
    filesystem.write_atomically(f"{plan.runs_uri}/trial_0000/recipe.toml", b"")
    with pytest.raises(SweepError, match="is of an earlier version of mulan"):
        plan.check()
    for content in (b"{", b"[]", b"3"):
        filesystem.write_atomically(f"{plan.run.uri}/search.json", content)
        with pytest.raises(DamagedFile, match=r"search\.json is damaged"):
            plan.check()
