"""Tests the setup of a training process. Engines with sharded states are tested where they are defined."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import TrainedModel
from mulan.runs.checkpoint import read_newest
from mulan.tasks.task import task_of
from mulan.training import worker
from mulan.training.engines.torch import TorchEngine
from mulan.training.state import Checkpoint, Progress, SavedState
from tests.checkpoints import write_checkpoint
from tests.training.small import small


class RestoredEngine(TorchEngine):
    """The plain engine, which needs no process group; records the arguments of the restoration."""

    restored: tuple[list[str], int, int] | None = None

    def restore_optimizer(self, state: SavedState, steps_done: int, *, updates: int) -> None:
        self.restored = sorted(state), steps_done, updates


@pytest.fixture(autouse=True)
def plain_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker, "build_engine", RestoredEngine.from_recipe)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def open_files() -> list[str]:
    return [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def prepare(recipe: Recipe, checkpoint: Checkpoint | None = None) -> RestoredEngine:
    engine = worker.prepare_engine(task_of(recipe), recipe, checkpoint, torch.device("cpu"))
    assert isinstance(engine, RestoredEngine)
    return engine


def differing(engine: RestoredEngine, other: RestoredEngine) -> list[str]:
    """Returns the names of the weights and running statistics that are not equal."""
    first, second = engine.module.state_dict(), other.module.state_dict()
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_the_recipe_determines_initial_weights_and_threads() -> None:
    recipe = small("m_resnet50", "scale.cpus_per_worker=2")
    torch.manual_seed(1)
    first = prepare(recipe)
    assert (torch.get_num_threads(), first.restored) == (2, None)
    torch.manual_seed(2)  # of the process; the recipe has its own
    assert differing(first, prepare(recipe)) == []
    assert differing(first, prepare(small("m_resnet50", "train.seed=5")))


def test_the_model_is_inspected_before_its_engine_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = small("m_resnet50"), list[torch.nn.Module]()

    def build(model: TrainedModel, *_: Any, **__: Any) -> None:
        assert seen == [model]

    monkeypatch.setattr(worker, "build_engine", build)
    worker.prepare_engine(task_of(recipe), recipe, None, torch.device("cpu"), inspect=seen.append)
    assert len(seen) == 1


def test_a_checkpoint_is_restored_and_then_closed(tmp_path: Path) -> None:
    recipe = small("m_resnet50")
    saved = prepare(recipe.replace({"train.seed": 5}))
    state = {f"weights.{name}": tensor for name, tensor in saved.module.state_dict().items()}
    state["exp_avg.temperature"] = torch.ones(())
    write_checkpoint(str(tmp_path), state, Progress(3, updates_skipped=1))
    checkpoint = read_newest(str(tmp_path), on_corrupt=pytest.fail)
    restored = prepare(recipe, checkpoint)
    assert differing(restored, saved) == []
    assert restored.restored == (sorted(state), 3, 2)
    assert checkpoint is not None
    assert list(checkpoint.state) == []
    checkpoint_file = str(tmp_path / "checkpoint_000000003")
    assert not [path for path in open_files() if path.startswith(checkpoint_file)]  # removed files would stay on disk
