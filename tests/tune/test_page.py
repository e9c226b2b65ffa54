"""Tests the page of a sweep: what it states, that it fetches nothing, and that it escapes texts."""

import re

from mulan.storage.jsonl import JsonLinesLog
from tests.tune.sweeps import SPACE, options, plan_in
from tests.tune.test_summary import swept
from tune.importance import Importance
from tune.outcome import outcome_of
from tune.page import render_page
from tune.summary import SweepResult
from tune.trial import Failure, planned_trials


def test_the_page_states_the_best_trials_and_what_failed(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE, objectives=["recall10=max", "step_seconds=min"])
    result = swept(plan)
    page = render_page(result, Importance({"optim.lr": 1.0}, 2, 5))
    assert result.best is not None
    assert result.command(result.best).replace("'", "&#39;") in page
    assert "2 completed, 1 stopped, 1 diverged, 1 unfinished, 1 waiting" in re.sub(r"\s+", " ", page)
    assert "the loss of step 3 is nan" in page
    assert "over the 5 trials that have a figure at step 2" in page
    assert "16 of the 20 that all trials to the end would take" in page
    assert page.count("<img") == 1 + 3 + 1 + 1 + 1
    assert not re.search(r"(?:src|href)=.(?!data:)", page)


def test_a_sweep_that_has_just_begun_has_a_page(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE)
    result = SweepResult(plan, options(2), [outcome_of(trial, plan) for trial in planned_trials(plan, 2)])
    page = render_page(result, None)
    assert "<p>No trial has been validated yet.</p>" in page
    assert "2 trials of 6 steps" in page
    assert "No trial is stopped early." in page
    assert "<p>2 trials have not begun.</p>" in page
    assert len(re.findall("<b>\N{EN DASH}</b>", page)) == 4
    assert "trial_0000, waiting</small>" in page
    assert re.findall("<h2>(.*)</h2>", page) == ["All trials", "Search space"]
    assert "<img" not in page
    assert "0 of " not in page


def test_trials_that_have_not_begun_are_counted_beside_those_listed(run_folder: str) -> None:
    plan = plan_in(run_folder, settings=["train.steps=1"], objectives=["recall10=max", "step_seconds=min"])
    trials = planned_trials(plan, 2)
    JsonLinesLog(trials[0].run.metrics_uri).append([{"step": 1, "loss": 3.0, "step_s": 1.0}])
    page = render_page(SweepResult(plan, options(2), [outcome_of(trial, plan) for trial in trials]), None)
    assert "2 trials of 1 step, by random search" in page
    assert "1 unfinished, 1 waiting" in page
    assert "<p>1 trial has not begun and is not listed.</p>" in page
    assert page.count('<th scope="row">trial_') == 1
    assert "trial_0000, unfinished at step 1</small>" in page
    assert "<img" not in page


def test_the_best_trial_may_be_the_recipe_itself(run_folder: str) -> None:
    result = swept(plan_in(f"{run_folder}/a"))
    assert "the best trial is orange, the recipe&#39;s own values are black." in render_page(result, None)
    alone = SweepResult(result.plan, result.options, result.outcomes[:1])
    page = render_page(alone, None)
    assert "the best trial, which has the recipe&#39;s own values, is orange." in page
    assert "are black" not in page


def test_texts_are_escaped(run_folder: str) -> None:
    script = "<script>alert(1)</script>"
    plan = plan_in(run_folder, space=f'[space]\n"text_tower.prefix" = {{ choice = ["{script}", "{script}2"] }}')
    trials = planned_trials(plan, 2)
    trials[1].fail(Failure("failed", 0, script))
    page = render_page(SweepResult(plan, options(2), [outcome_of(trial, plan) for trial in trials]), None)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
