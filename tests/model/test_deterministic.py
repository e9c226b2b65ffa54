"""Tests deterministic kernels: set in the block, reset afterwards, and available for all operations of the recipes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.config.recipe import Recipe
from mulan.data.schedule import Phase, Schedule
from mulan.distributed.batch_norm import RunningStatistics
from mulan.model.deterministic import NotDeterministic, deterministic_kernels
from mulan.recipes.registry import load_recipe, named_recipes
from mulan.tasks.task import task_of
from mulan.training import loop
from mulan.training.engines.torch import TorchEngine
from mulan.training.observer import NullObserver
from mulan.training.state import Progress
from mulan.training.step import train_step
from mulan.training.validation import validate

NONDETERMINISTIC = {
    "torch.nn.AvgPool3d": ["avg_pool3d_backward"],
    "torch.nn.AdaptiveAvgPool2d": ["_adaptive_avg_pool2d_backward"],
    "torch.nn.AdaptiveAvgPool3d": ["_adaptive_avg_pool3d_backward"],
    "torch.nn.MaxPool3d": ["max_pool3d_with_indices_backward"],
    "torch.nn.AdaptiveMaxPool2d": ["adaptive_max_pool2d_backward"],  # also used by AdaptiveMaxPool1d
    "torch.nn.FractionalMaxPool2d": ["fractional_max_pool2d_backward"],
    "torch.nn.FractionalMaxPool3d": ["fractional_max_pool3d_backward"],
    "torch.nn.MaxUnpool1d": ["max_unpool2d"],
    "torch.nn.MaxUnpool2d": ["max_unpool2d"],
    "torch.nn.MaxUnpool3d": ["max_unpool3d"],
    "torch.nn.functional.interpolate": [
        "upsample_linear1d_backward",
        "upsample_bilinear2d_backward",
        "upsample_bicubic2d_backward",
        "upsample_trilinear3d_backward",
    ],
    "torch.nn.ReflectionPad1d": ["reflection_pad1d_backward"],
    "torch.nn.ReflectionPad2d": ["reflection_pad2d_backward"],
    "torch.nn.ReflectionPad3d": ["reflection_pad3d_backward"],
    "torch.nn.NLLLoss": ["nll_loss2d_forward"],  # for images; that of rows is deterministic
    "torch.nn.CTCLoss": ["_ctc_loss_backward"],
    "torch.nn.EmbeddingBag": ["_embedding_bag", "_embedding_bag_forward_only"],
    "torch.Tensor.put_": ["put_", "put"],
    "torch.histc": ["histc"],
    "torch.bincount": ["bincount"],
    "torch.median": ["median", "nanmedian"],
    "torch.nn.functional.grid_sample": ["grid_sampler_2d_backward", "grid_sampler_3d_backward"],
    "torch.cumsum": ["cumsum of floats"],
    "torch.Tensor.scatter_reduce": ["scatter_reduce", "scatter_reduce_"],
    "torch.Tensor.resize_": ["_resize_quantized"],
}
"""Functions for which torch raises according to its documentation, each with its operations. For some, torch raises on
some devices only, or for some arguments; no recipe uses any of them."""

DISTINCT = (
    "demo_miniature",
    "m_ast_miniature",
    "m_resnet50_audioset_miniature",
    "m_resnet50_miniature",
    "mulap_miniature",
    "mulan_semi_miniature",
    "semisupcon_miniature",
)
"""One recipe for each model; the others differ from these in their data only."""


class Recorded(TorchDispatchMode):
    """Records the names of all operations of forward and backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        is_of_floats = name == "cumsum" and args[0].is_floating_point()
        self.names.add("cumsum of floats" if is_of_floats else name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def settings_stay() -> Iterator[None]:
    before = settings()
    yield
    assert settings() == before


def settings() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )


def model_of(recipe: Recipe) -> tuple[Any, ...]:
    return recipe.loss.weights, recipe.semisupcon, recipe.audio_tower, recipe.front_end, bool(recipe.text_tower.layers)


def test_within_the_block_torch_raises_for_nondeterministic_operations() -> None:
    with deterministic_kernels(True):
        assert settings() == (True, False, False, False, True)
        with deterministic_kernels(True):  # nested, as in a replay
            pass
        assert settings() == (True, False, False, False, True)


def test_settings_are_restored_even_after_an_error() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    try:
        for fault in (ValueError, RuntimeError):
            with pytest.raises(fault, match="a fault of its own"), deterministic_kernels(True):
                raise fault("a fault of its own")
            assert settings() == (True, True, True, True, False)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def test_off_changes_nothing() -> None:
    before = settings()
    with deterministic_kernels(False):
        assert settings() == before
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


def test_a_model_without_deterministic_kernels_raises_with_a_remedy() -> None:
    told = r"^put_ has no .* --set train\.deterministic=false"
    with pytest.raises(NotDeterministic, match=told), deterministic_kernels(True):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


@pytest.mark.parametrize("on", [True, False])
def test_the_loop_uses_them_if_the_recipe_requires_it(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [f"train.deterministic={on}".lower(), "train.steps=1", "scale.workers=1"]
    recipe, seen = load_recipe("m_resnet50_audioset_miniature", settings), []

    def step(*_: Any) -> dict[str, float]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        raise InterruptedError

    monkeypatch.setattr(loop, "train_step", step)
    schedule = Schedule(recipe.train, recipe.batch, 0, 1)
    with pytest.raises(InterruptedError):
        loop.train(
            task_of(recipe), recipe, Mock(module=torch.nn.Module()), iter(()), schedule, Progress(0), NullObserver()
        )
    assert seen == [on]


def test_all_nondeterministic_operations_of_torch_are_listed() -> None:
    """A new version of torch may raise for further operations."""
    described = torch.use_deterministic_algorithms.__doc__
    assert described is not None
    refused = described.partition("operations will throw a")[2].partition("In addition")[0]
    assert set(re.findall(r"\* :\w+:`([^`]+)`", refused)) == set(NONDETERMINISTIC)


def test_the_models_of_all_recipes_are_checked() -> None:
    recipes = {name: recipe for name, recipe in named_recipes().items() if name.endswith("_miniature")}
    assert {model_of(recipe) for recipe in recipes.values()} == {model_of(recipes[name]) for name in DISTINCT}


@pytest.mark.parametrize("name", DISTINCT)
def test_no_recipe_uses_a_nondeterministic_operation(name: str) -> None:
    """Checks a step and a validation by name, since most of the operations do not raise on CPUs."""
    recipe = named_recipes()[name]
    engine = TorchEngine.from_recipe(model_to_measure(recipe), recipe, device=torch.device("cpu"))
    batches = [synthetic_batch(recipe, step=0, micro_batch=number, tokens=0) for number in range(2)]
    with deterministic_kernels(True), Recorded() as recorded:
        train_step(engine, batches, RunningStatistics(engine.module), task_of(recipe), recipe.train)
        validate(
            engine, [replace(one, item=one.item._replace(phase=Phase.VALIDATE)) for one in batches], task_of(recipe)
        )
    assert {"mm", "addmm"} & recorded.names  # the operations were recorded
    assert any(name.endswith("_backward") for name in recorded.names)
    assert recorded.names & {operation for operations in NONDETERMINISTIC.values() for operation in operations} == set()
