"""Tests the points of a sweep, and the state of its trials as read from the sweep's folder."""

import json
from typing import Any

import pytest

from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe, named_recipes
from mulan.runs.checkpoint import checkpoint_name
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile, JsonLinesLog
from tune.errors import SweepError
from tune.planned import Trial, planned_trials, search_space
from tune.planned import settings as settings_of
from tune.trials import metric


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo_miniature", ["train.steps=6"])


@pytest.fixture
def sweep(run_folder: str) -> Run:
    return Run(run_folder, "s")


def validated(trial: Trial, *scores: float) -> None:
    lines = [{"step": 2 * number, "validation": {"recall10": score}} for number, score in enumerate(scores, 1)]
    JsonLinesLog(trial.run.metrics_uri).append([{"step": 1, "loss": 3.0}, *lines])


def saved(trial: Trial, steps_done: int) -> None:
    manifest = json.dumps({"files": {}, "score": 0.5}).encode()
    filesystem.write_atomically(f"{trial.run.uri}/{checkpoint_name(steps_done)}/manifest.json", manifest)


def test_trials_are_the_same_in_every_call(recipe: Recipe, sweep: Run) -> None:
    two, four = planned_trials(recipe, sweep, 2), planned_trials(recipe, sweep, 4)
    assert four[:2] == two
    assert [trial.run.uri for trial in two] == [f"{sweep.uri}/trials/trial_000{number}" for number in (0, 1)]
    points = {tuple(trial.values.values()) for trial in four}
    assert len(points) == 4
    assert four[0].values.keys() == search_space(recipe).keys()


def test_points_depend_on_the_name_and_the_seed(recipe: Recipe, sweep: Run) -> None:
    seed = recipe.replace({"train.seed": 1})
    (own,), (other,) = planned_trials(recipe, sweep, 1), planned_trials(recipe, Run(sweep.storage_uri, "t"), 1)
    (seeded,) = planned_trials(seed, sweep, 1)
    assert own.values != other.values
    assert own.values != seeded.values


def test_existing_trials_belong_to_the_sweep(recipe: Recipe, sweep: Run) -> None:
    for trial in planned_trials(recipe, sweep, 3):
        validated(trial, 0.5)
    assert [trial.run.name for trial in planned_trials(recipe, sweep, 1)] == ["trial_0000", "trial_0001", "trial_0002"]


def test_the_state_of_trials(recipe: Recipe, sweep: Run) -> None:
    begun, stopped, trained, waiting = planned_trials(recipe, sweep, 4)
    validated(begun, 0.25, 0.5)
    stopped.end(2, train_steps=6)
    saved(trained, 6)
    saved(begun, 4)
    assert [trial.is_over(recipe) for trial in (begun, stopped, trained, waiting)] == [False, True, True, False]
    assert begun.scores(recipe) == [(2, 0.25), (4, 0.5)]
    assert waiting.scores(recipe) == []


def test_a_longer_sweep_continues_trials_that_were_not_stopped(recipe: Recipe, sweep: Run) -> None:
    stopped, trained = planned_trials(recipe, sweep, 2)
    stopped.end(2, train_steps=6)
    trained.end(6, train_steps=6)
    assert [trial.is_over(recipe) for trial in (stopped, trained)] == [True, True]
    longer = recipe.replace({"train.steps": 12})
    assert [trial.is_over(longer) for trial in (stopped, trained)] == [True, False]
    assert planned_trials(longer, sweep, 2) == [stopped, trained]


def test_fewer_steps_than_those_of_a_trial_are_refused(recipe: Recipe, sweep: Run) -> None:
    saved(planned_trials(recipe, sweep, 2)[1], 6)
    with pytest.raises(SweepError, match=r"trial_0001 has a checkpoint of step 6, so train\.steps = 5 cannot be"):
        planned_trials(recipe.replace({"train.steps": 5}), sweep, 2)


def test_damaged_files_of_a_trial_are_named(recipe: Recipe, sweep: Run) -> None:
    (trial,) = planned_trials(recipe, sweep, 1)
    filesystem.write_atomically(trial.run.metrics_uri, b'{"step": 1}\n\x00\x00\n')
    with pytest.raises(DamagedFile, match=r"line 2 of .*trial_0000/metrics\.jsonl is damaged"):
        trial.scores(recipe)
    filesystem.write_atomically(f"{trial.run.uri}/over.json", b"{}")
    with pytest.raises(DamagedFile, match=r"trial_0000/over\.json is damaged"):
        trial.is_over(recipe)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        (["loss.weights.contrastive=0", "loss.weights.siglip=1"], set()),
        (["loss.weights.clip=0.5", "loss.weights.decoupled=2"], {"loss.weights.clip", "loss.weights.decoupled"}),
    ],
)
def test_the_weights_of_all_losses_of_pairs_can_be_swept(settings: list[str], fields: set[str]) -> None:
    recipe = load_recipe("demo", settings)
    space = search_space(recipe)
    assert space.keys() == fields | {"optim.lr", "loss.temperature_init"}
    load_recipe("demo", [*settings, *settings_of({field: domain.sample() for field, domain in space.items()})])


@pytest.mark.parametrize(
    ("name", "fields", "score"),
    [
        ("demo", {"optim.lr", "loss.temperature_init"}, "validation_recall10"),
        ("semisupcon", {"optim.lr", "semisupcon.temperature"}, "validation_recall10"),
        ("mulap", {"optim.lr", "loss.weights.mam", "loss.weights.atm"}, "validation_atm_accuracy"),
        (
            "mulan_semi",
            {"optim.lr", "loss.temperature_init", "semisupcon.temperature", "loss.weights.semisupcon"},
            "validation_recall10",
        ),
        ("m_resnet50_audioset", {"optim.lr"}, "validation_map"),
    ],
)
def test_the_search_space_of_each_recipe(name: str, fields: set[str], score: str) -> None:
    recipe = named_recipes()[name]
    assert search_space(recipe).keys() == fields
    assert metric(recipe) == score
    for _ in range(20):
        point = {field: domain.sample() for field, domain in search_space(recipe).items()}
        swept = load_recipe(name, settings_of(point))
        for field, value in point.items():
            section: Any = swept
            for part in field.split("."):
                section = getattr(section, part)
            assert section == pytest.approx(value, rel=1e-5)
        assert recipe.optim.lr / 10 <= swept.optim.lr * 1.001
        assert swept.optim.lr <= recipe.optim.lr * 10.001
