"""Tests exported models: joint models, taggers, and audio encoders for other runs and tasks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mulan import AudioBackbone, MuLan
from mulan.config.objectives import selection_metric
from mulan.model.inference.files import ModelFolderError
from mulan.recipes.registry import load_recipe, named_recipes
from mulan.runs.export import checkpoint_to_export, export_run
from mulan.runs.run import Run, RunError
from mulan.tasks.task import task_of
from mulan.training.state import load_weights
from tests.processes import run_in_processes
from tests.training.inline import train_inline

TRUNK = "audio_encoder.tower."


@pytest.fixture(scope="module")
def tagger(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Any]]]:
    """A run that has been pretrained on tags, and its metrics."""
    folder = tmp_path_factory.mktemp("taggers")
    run = Run.at(str(folder), "tagger")
    settings = ["train.steps=4", "train.validate_every_steps=2", "scale.workers=1"]
    recipe = load_recipe("m_resnet50_audioset_miniature", settings, data_uri=tiny_corpus)
    run.begin(recipe)
    ((lines, _),) = run_in_processes(train_inline, 1, recipe, run.uri, folder=folder / "results")
    assert export_run(run) == 4
    return run, lines


@pytest.mark.processes
def test_another_run_uses_the_trunk_without_the_classifier(tagger: tuple[Run, list[dict[str, Any]]]) -> None:
    run, _ = tagger
    trained = checkpoint_to_export(run).state
    recipe = load_recipe("m_resnet50_miniature", [f"audio_tower.pretrained={run.model_uri}"])
    model = task_of(recipe).build_model()
    ours = model.state_dict()
    taken = [name for name in ours if name.startswith(TRUNK)]
    assert taken
    for name in taken:
        assert torch.equal(ours[name], trained[f"weights.{name}"]), name
    warm = {id(parameter) for parameter in model.warm_started_parameters()}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in warm) == name.startswith((TRUNK, "text_tower.")), name


@pytest.mark.processes
def test_a_tagger_is_validated_on_tags_and_has_no_zero_shot_evaluation(
    tagger: tuple[Run, list[dict[str, Any]]],
) -> None:
    _, lines = tagger
    validations = [line["validation"] for line in lines if "validation" in line]
    assert len(validations) == 2
    for scores in validations:
        assert 0 <= scores["roc_auc"] <= 1
        assert scores["num_tags"] == 2
        assert scores["num_items"] == 16


def test_a_run_without_a_checkpoint_has_nothing_to_export(tmp_path: Path) -> None:
    run = Run.at(str(tmp_path), "empty")
    run.begin(named_recipes()["demo_miniature"])
    with pytest.raises(RunError, match="no checkpoint yet"):
        export_run(run)


@pytest.mark.processes
@pytest.mark.parametrize(("name", "decay"), [("semisupcon", 0.6), ("mulap", 0)])
def test_an_exported_encoder_equals_the_trained_or_averaged_one(
    name: str, decay: float, tiny_corpus: str, tmp_path: Path
) -> None:
    run = Run.at(str(tmp_path), name)
    settings = ["train.steps=2", "train.validate_every_steps=2", "scale.workers=1", f"optim.ema_decay={decay}"]
    recipe = load_recipe(f"{name}_miniature", settings, data_uri=tiny_corpus)
    run.begin(recipe)
    ((lines, _),) = run_in_processes(train_inline, 1, recipe, run.uri, folder=tmp_path / "results")
    assert selection_metric(recipe.loss.weights).name in lines[-1]["validation"]
    assert export_run(run) == 2
    model = task_of(recipe).build_model()
    state = checkpoint_to_export(run).state
    load_weights(model, state)
    averaged = {name.removeprefix("ema."): tensor for name, tensor in state.items() if name.startswith("ema.")}
    assert bool(averaged) == bool(decay)
    for averaged_name, tensor in averaged.items():  # running statistics are not averaged
        parameter = model.get_parameter(averaged_name)
        assert not torch.equal(parameter, tensor)
        parameter.data.copy_(tensor)
    backbone = AudioBackbone.from_pretrained(run.model_uri, device="cpu")
    window = np.random.default_rng(0).normal(0, 0.1, backbone.window_samples).astype(np.float32)
    with torch.no_grad():
        expected = model.audio_encoder.eval()(torch.from_numpy(np.rint(window * 32768).astype(np.int16))[None])
    features = backbone.embed_audio([window], sample_rate_hz=recipe.data.sample_rate_hz)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelFolderError, match=r"it is an audio encoder, which.*mulan\.AudioBackbone"):
        MuLan.from_pretrained(run.model_uri)
