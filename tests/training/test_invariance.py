"""Promises: the number of workers and the ZeRO stage change the speed, never the result; a resumed run is the run."""

import itertools
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.model.joint import JointModel, build_joint_model
from tests.processes import run_in_processes
from tests.training.inline import train_inline

TOLERANCE = {"weights": 1e-5, "exp_avg": 1e-4, "exp_avg_sq": 1e-4}
"""Relative to the largest of the tensor, or to 0.1 for weights that are all smaller (biases start at 0)."""


def without_kinks(recipe: Recipe) -> JointModel:
    """The model, with softplus for ReLU and mean pooling for max pooling, so that its gradient is continuous.

    Sums in another order differ by rounding. Where that puts a single input of a ReLU on the other side of zero, the
    gradient of a small layer jumps by parts in a thousand, and both are right: such weights cannot be compared.
    """
    model = build_joint_model(recipe)
    for parent in list(model.audio_tower.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.ReLU):
                setattr(parent, name, nn.Softplus())
            elif isinstance(layer, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
    return model


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["train.steps=6", "train.checkpoint_every_steps=3", "batch.micro_batches=4", "scale.workers=1"]
    common += ["batch.pairs_per_micro_batch=6", "train.validation_micro_batches=4"]
    return load_recipe("miniature", named_recipes(), [*common, *settings], data_uri=uri)


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def train_all(
    recipes: dict[str, Recipe], folder: str
) -> dict[str, tuple[list[dict[str, Any]], dict[str, torch.Tensor]]]:
    """Several runs, one after another, in one process group."""
    return {name: train_inline(one, f"{folder}/{name}") for name, one in recipes.items()}


def train_all_without_kinks(
    recipes: dict[str, Recipe], folder: str
) -> dict[str, tuple[list[dict[str, Any]], dict[str, torch.Tensor]]]:
    with patch("mulan.training.worker.build_joint_model", without_kinks):
        return train_all(recipes, folder)


def assert_same_result(
    ours: tuple[list[dict[str, Any]], dict[str, torch.Tensor]],
    reference: tuple[list[dict[str, Any]], dict[str, torch.Tensor]],
) -> None:
    assert losses(ours[0]) == pytest.approx(losses(reference[0]), rel=1e-5)
    norms = [[line["gradient_norm"] for line in lines] for lines in (ours[0], reference[0])]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert_same_validations(ours[0], reference[0])
    assert ours[1].keys() == reference[1].keys()
    for name, tensor in ours[1].items():
        kind = name.partition(".")[0]
        expected = reference[1][name]
        scale = max(float(expected.abs().max()), 0.1 if kind == "weights" else 0.0)
        assert float((tensor - expected).abs().max()) <= TOLERANCE[kind] * scale, name


def assert_same_validations(ours: list[dict[str, Any]], reference: list[dict[str, Any]]) -> None:
    """Ranks are whole numbers: among windows of one steady tone, rounding decides who comes first."""
    found, expected = ([line for line in lines if "validation" in line] for lines in (ours, reference))
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["validation"]["mrr"] == pytest.approx(other["validation"]["mrr"], abs=0.02)


STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def alone(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The undisturbed run of one worker."""
    folder = tmp_path_factory.mktemp("alone")
    return run_in_processes(train_all_without_kinks, 1, {"run": recipe(tiny_corpus)}, str(folder), folder=folder)[0][
        "run"
    ]


def test_two_and_four_workers_at_every_stage_train_the_same_model(tiny_corpus: str, tmp_path: Path, alone: Any) -> None:
    for workers, stages in ((2, STAGES), (4, (0, 2))):
        recipes = {str(stage): recipe(tiny_corpus, f"train.zero_stage={stage}") for stage in stages}
        folder = tmp_path / str(workers)
        ranks = run_in_processes(train_all_without_kinks, workers, recipes, str(folder), folder=folder)
        for stage, rank in itertools.product(stages, range(workers)):
            assert_same_result(ranks[rank][str(stage)], alone)


@pytest.mark.parametrize(("first", "second"), [((2, 1), (1, 0)), ((1, 0), (2, 3))])
def test_a_resumed_run_is_the_run(
    first: tuple[int, int], second: tuple[int, int], tiny_corpus: str, tmp_path: Path, alone: Any
) -> None:
    """Three steps on some workers at one ZeRO stage, then three on others at another."""
    parts = []
    for (workers, stage), steps in ((first, 3), (second, 6)):
        recipes = {"run": recipe(tiny_corpus, f"train.steps={steps}", f"train.zero_stage={stage}")}
        ranks = run_in_processes(train_all_without_kinks, workers, recipes, str(tmp_path), folder=tmp_path)
        parts.append(ranks[0]["run"])
    begun, ended = parts
    assert [line["step"] for line in ended[0]] == [4, 5, 6]
    assert_same_result((begun[0] + ended[0], ended[1]), alone)


def test_resuming_with_the_same_workers_is_exact(tiny_corpus: str, tmp_path: Path, alone: Any) -> None:
    for steps in (3, 6):
        recipes = {"run": recipe(tiny_corpus, f"train.steps={steps}")}
        ranks = run_in_processes(train_all_without_kinks, 1, recipes, str(tmp_path), folder=tmp_path)
    lines, state = ranks[0]["run"]
    assert losses(lines) == losses(alone[0])[3:]
    for name, tensor in state.items():
        assert torch.equal(tensor, alone[1][name]), name


def test_recipes_as_they_are_lose_the_same_on_two_workers(tiny_corpus: str, tmp_path: Path) -> None:
    """ReLU and all; and bf16, where the same micro-batches give the same roundings wherever they run."""
    bf16 = ("train.precision=bf16", "text_tower.layers=2", "text_tower.frozen_layers=1", "text_tower.length_groups=2")
    settings: dict[str, tuple[str, ...]] = {"float32": (), "bf16": bf16}
    recipes = {precision: recipe(tiny_corpus, *chosen) for precision, chosen in settings.items()}
    alone = run_in_processes(train_all, 1, recipes, str(tmp_path / "alone"), folder=tmp_path / "alone")[0]
    shared = {
        f"{precision} {stage}": recipe(tiny_corpus, *settings[precision], f"train.zero_stage={stage}")
        for precision, stage in (("float32", 0), ("float32", 2), ("bf16", 2), ("bf16", 3))
    }
    found = run_in_processes(train_all, 2, shared, str(tmp_path / "shared"), folder=tmp_path / "shared")[0]
    for name, (lines, state) in found.items():
        precision = name.partition(" ")[0]
        assert losses(lines) == pytest.approx(losses(alone[precision][0]), rel=1e-5 if precision == "float32" else 1e-3)
        assert all(tensor.dtype == torch.float32 for name, tensor in state.items() if not name.endswith("_tracked"))
        frozen = [name for name in state if name.startswith("exp_avg.text_tower.encoder.embeddings")]
        assert bool(frozen) == (precision == "float32")
