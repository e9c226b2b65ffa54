"""Tests that weights are read into a model in place, and that those of another model are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mulan.runs.checkpoint import read_newest
from mulan.training.state import Progress, SavedState, load_weights
from tests.checkpoints import State, write_checkpoint


def model() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2))


def saved(folder: Path, state: State) -> SavedState:
    write_checkpoint(str(folder), state, Progress(1))
    checkpoint = read_newest(str(folder), on_corrupt=pytest.fail)
    assert checkpoint is not None
    return checkpoint.state


def state_of(one: nn.Module) -> State:
    return {f"weights.{name}": tensor for name, tensor in one.state_dict().items()}


def test_weights_and_buffers_or_averages_are_loaded_in_place(tmp_path: Path) -> None:
    source, target = model(), model()
    source(torch.randn(4, 1, 9))  # changes the buffers
    average = {"ema.0.weight": source.state_dict()["0.weight"] + 1}
    state = saved(tmp_path, state_of(source) | average)
    memory = [tensor.data_ptr() for tensor in target.state_dict().values()]
    load_weights(target, state)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    load_weights(target, state, averaged=True)
    assert torch.equal(target.state_dict()["0.weight"], average["ema.0.weight"])
    assert torch.equal(target.state_dict()["0.bias"], source.state_dict()["0.bias"])
    assert [tensor.data_ptr() for tensor in target.state_dict().values()] == memory


def test_tensors_of_another_model_are_refused(tmp_path: Path) -> None:
    state = state_of(model())
    with pytest.raises(ValueError, match=r"has these tensors: 0\.bias, 2\.bias$"):
        load_weights(
            nn.Sequential(nn.Conv1d(1, 2, 3, bias=False), nn.BatchNorm1d(2)),
            saved(tmp_path, state | {"weights.2.bias": torch.ones(1)}),
        )
    with pytest.raises(ValueError, match=r"weights\.0\.weight has the shape \(2, 1, 3\), and in the model \(2, 1, 5\)"):
        load_weights(nn.Sequential(nn.Conv1d(1, 2, 5), nn.BatchNorm1d(2)), saved(tmp_path, state))
