"""Promises: the number of workers and the ZeRO stage change the speed, never the result; a resumed run is the run."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from tests.processes import run_in_processes
from tests.training.inline import train_inline

TOLERANCE = {"weights": 1e-5, "exp_avg": 1e-4, "exp_avg_sq": 1e-4}
"""Root mean square of the difference, relative to that of the tensor, or to 0.1 for weights that are smaller (biases
start at 0). Not the largest difference: where a gradient is all but zero, Adam makes steps of its rounding."""


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
        expected = reference[1][name].double()
        scale = max(float(expected.square().mean().sqrt()), 0.1 if kind == "weights" else 0.0)
        assert float((tensor - expected).square().mean().sqrt()) <= TOLERANCE[kind] * scale, name


def assert_same_validations(ours: list[dict[str, Any]], reference: list[dict[str, Any]]) -> None:
    """Ranks are whole numbers: among windows of one steady tone, rounding decides who comes first."""
    found, expected = ([line for line in lines if "validation" in line] for lines in (ours, reference))
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["validation"]["mrr"] == pytest.approx(other["validation"]["mrr"], abs=0.02)


STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def alone(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train_alone(recipe(tiny_corpus), tmp_path_factory.mktemp("alone"))


def train_alone(one: Recipe, folder: Path) -> Any:
    return run_in_processes(train_all, 1, {"run": one}, str(folder), folder=folder / "out")[0]["run"]


def test_two_and_four_workers_at_every_stage_train_the_same_model(tiny_corpus: str, tmp_path: Path, alone: Any) -> None:
    for workers, stages in ((2, STAGES), (4, (0, 2))):
        recipes = {str(stage): recipe(tiny_corpus, f"train.zero_stage={stage}") for stage in stages}
        ranks = run_in_processes(
            train_all, workers, recipes, str(tmp_path / str(workers)), folder=tmp_path / f"o{workers}"
        )
        for stage, rank in itertools.product(stages, range(workers)):
            assert_same_result(ranks[rank][str(stage)], alone)


@pytest.mark.parametrize(("first", "second"), [((2, 1), (1, 0)), ((1, 0), (2, 3))])
def test_a_resumed_run_is_the_run(
    first: tuple[int, int], second: tuple[int, int], tiny_corpus: str, tmp_path: Path, alone: Any
) -> None:
    """Three steps on some workers at one ZeRO stage, then three on others at another."""
    settings = ["train.steps=3", f"train.zero_stage={first[1]}"]
    begun = run_in_processes(
        train_all, first[0], {"run": recipe(tiny_corpus, *settings)}, str(tmp_path), folder=tmp_path
    )
    rest = {"run": recipe(tiny_corpus, f"train.zero_stage={second[1]}")}
    ended = run_in_processes(train_all, second[0], rest, str(tmp_path), folder=tmp_path)[0]["run"]
    assert [line["step"] for line in ended[0]] == [4, 5, 6]
    assert_same_result((begun[0]["run"][0] + ended[0], ended[1]), alone)


def test_resuming_with_the_same_workers_is_exact(tiny_corpus: str, tmp_path: Path, alone: Any) -> None:
    folder = str(tmp_path / "run")
    run_in_processes(train_all, 1, {"run": recipe(tiny_corpus, "train.steps=3")}, folder, folder=tmp_path / "a")
    lines, state = run_in_processes(train_all, 1, {"run": recipe(tiny_corpus)}, folder, folder=tmp_path / "b")[0]["run"]
    assert losses(lines) == losses(alone[0])[3:]
    for name, tensor in state.items():
        assert torch.equal(tensor, alone[1][name]), name


def test_bf16_and_frozen_layers_on_two_workers(tiny_corpus: str, tmp_path: Path, alone: Any) -> None:
    """Products rounded to 8 bits: the same micro-batches give the same roundings, wherever they run."""
    settings = [
        "train.precision=bf16",
        "text_tower.layers=2",
        "text_tower.frozen_layers=1",
        "text_tower.length_groups=2",
    ]
    reference, _ = train_alone(recipe(tiny_corpus, *settings), tmp_path / "alone")
    assert losses(reference) != losses(alone[0])
    shared = {str(stage): recipe(tiny_corpus, *settings, f"train.zero_stage={stage}") for stage in (2, 3)}
    trained = run_in_processes(train_all, 2, shared, str(tmp_path / "shared"), folder=tmp_path / "out")[0]
    for ours, state in trained.values():
        assert losses(ours) == pytest.approx(losses(reference), rel=1e-3)
        assert all(tensor.dtype == torch.float32 for name, tensor in state.items() if not name.endswith("_tracked"))
        assert not [name for name in state if name.startswith("exp_avg.text_tower.encoder.embeddings")]
