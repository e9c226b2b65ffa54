"""Tests what is left to do for the variants of an ablation, by their runs."""

from pathlib import Path

import pytest
import torch

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.recipes.ablations import VARIANTS, text_ablations
from mulan.recipes.registry import load_recipe
from mulan.runs.ablation import AblationRun, MissingVariants, existing_runs, runs_to_train
from mulan.runs.run import Run, RunError
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint

INDEX = "0" * 64


class Temporary(MulanError):
    exit_code = 1


@pytest.fixture
def runs(run_folder: str) -> list[AblationRun]:
    """Returns the runs of all variants, none of which exists."""
    ablation = Run.at(run_folder, "ablation")
    return [
        AblationRun.of(ablation, each.name, load_recipe(each.recipe, ["train.steps=6"], data_uri="/corpus"))
        for each in text_ablations("m_resnet50_miniature")
    ]


def begin(one: AblationRun, *, steps: int = 0, exported: int | None = None, recipe: Recipe | None = None) -> None:
    one.run.begin(recipe or one.recipe, INDEX)
    if steps:
        write_checkpoint(one.run.uri, {"weights.a": torch.ones(1)}, Progress(steps))
    if exported is not None:
        model = Path(one.run.model_uri)
        model.mkdir()
        (model / "model.safetensors").write_bytes(b"")
        Path(one.run.exported_uri).write_text(f'{{"steps_done": {exported}}}')


def names(runs: list[AblationRun]) -> list[str]:
    return [one.name for one in runs]


def passes(recipe: Recipe, run: Run) -> None:
    """Checks nothing."""


def test_the_runs_are_in_the_folder_of_the_ablation(runs: list[AblationRun], run_folder: str) -> None:
    assert [one.run.uri for one in runs] == [f"{run_folder}/ablation/{name}" for name in VARIANTS]


def test_only_what_is_not_exported_at_its_last_step_is_trained(runs: list[AblationRun]) -> None:
    full, aset_sf_lf, aset_sf, aset, _ = runs
    begin(full, steps=6, exported=6)
    begin(aset_sf_lf, steps=6, exported=3)  # interrupted between the last step and the export
    begin(aset_sf, steps=3)
    begin(aset, exported=6)  # checkpoints were removed
    missing = MissingVariants()
    usable, to_train = runs_to_train(runs, VARIANTS, missing, index_sha256=INDEX, check=passes)
    assert names(to_train) == ["aset_sf_lf", "aset_sf", "unfiltered"]
    assert names(usable) == list(VARIANTS)
    assert missing.reasons == {}
    assert [one.state() for one in runs] == [
        "trained for 6 steps and exported",
        "trained for 6 steps; its model is to be exported",
        "3 of 6 steps are to be trained, from step 3 on",
        "trained for 6 steps and exported",
        "6 steps are to be trained",
    ]
    longer = [AblationRun(one.name, one.recipe.replace({"train.steps": 8}), one.run) for one in runs]
    assert names(runs_to_train(longer, VARIANTS, missing, index_sha256=INDEX, check=passes)[1]) == list(VARIANTS)


def test_the_faults_of_a_variant_do_not_stop_the_others(runs: list[AblationRun]) -> None:
    full, aset_sf_lf, *_ = runs
    begin(full, steps=6, exported=6, recipe=full.recipe.replace({"optim.lr": 0.5}))
    begin(aset_sf_lf, steps=6, exported=6)
    missing = MissingVariants()

    def check(recipe: Recipe, run: Run) -> None:
        if run.name == "unfiltered":
            raise RunError("there are no such texts")

    usable, to_train = runs_to_train(runs, VARIANTS, missing, index_sha256=INDEX, check=check)
    assert names(usable) == ["aset_sf_lf", "aset_sf", "aset"]
    assert names(to_train) == ["aset_sf", "aset"]
    assert "optim.lr: 0.5 there, 0.001 here" in missing.faults["full"]
    assert missing.faults["unfiltered"] == "there are no such texts"
    assert runs_to_train(runs, ["aset_sf_lf"], missing, index_sha256="1" * 64, check=check) == ([], [])
    assert "was trained on another corpus" in missing.faults["aset_sf_lf"]


def test_an_error_that_may_pass_is_raised(runs: list[AblationRun]) -> None:
    def check(recipe: Recipe, run: Run) -> None:
        raise Temporary("the storage does not answer")

    with pytest.raises(Temporary):
        runs_to_train(runs, VARIANTS, MissingVariants(), index_sha256=INDEX, check=check)


def test_variants_that_are_not_to_be_trained_are_taken_as_they_are(runs: list[AblationRun]) -> None:
    full, aset_sf_lf, aset_sf, _, _ = runs
    begin(full, steps=4, exported=4, recipe=full.recipe.replace({"train.steps": 4, "data.uri": "/moved"}))
    begin(aset_sf_lf, steps=3)
    begin(aset_sf, steps=6, exported=6, recipe=aset_sf.recipe.replace({"embedding_dim": 8}))
    missing = MissingVariants()
    (one,) = existing_runs(runs, missing)
    assert (one.name, one.recipe.train.steps, one.recipe.data.uri) == ("full", 4, "/moved")
    assert list(missing.untrained) == ["aset_sf_lf", "aset", "unfiltered"]
    assert "3 of 6 steps are to be trained" in missing.untrained["aset_sf_lf"]
    assert list(missing.faults) == ["aset_sf"]
    assert list(missing.reasons) == ["aset_sf_lf", "aset", "unfiltered", "aset_sf"]
    usable, to_train = runs_to_train(runs, ["aset"], MissingVariants(), index_sha256=INDEX, check=passes)
    assert (names(usable), names(to_train)) == (["full", "aset"], ["aset"])
