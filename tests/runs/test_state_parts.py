"""Tests that what is read from the parts of a state equals the tensors, in whole and in slices."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mulan.runs.state_parts import DTYPES, PartCopy, StoredState
from mulan.training.tensor_slices import TensorSlice, share_of
from tests.checkpoints import State, slices_of


def tensors() -> State:
    generator = torch.Generator().manual_seed(0)
    state = {
        f"of.{dtype}": torch.randint(0, 2, (3, number + 1), generator=generator).to(dtype)
        for number, dtype in enumerate(DTYPES.values())
    }
    strided = torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    return state | {"scalar": torch.tensor(2.5), "empty": torch.ones(0, 3), "strided": strided}


def written(folder: Path, state: State, workers: int) -> list[str]:
    """Writes one part for each worker, and returns the paths of the parts."""
    paths = [str(folder / f"part{rank}-of-{workers}") for rank in range(workers)]
    for rank, path in enumerate(paths):
        PartCopy(share_of(slices_of(state), rank, workers)).write(path)
    return paths


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_whole_tensors_and_slices_are_read_back(workers: int, tmp_path: Path) -> None:
    state = tensors()
    stored = StoredState(written(tmp_path, state, workers))
    assert stored.keys() == state.keys()
    assert "scalar" in stored and "other" not in stored
    rng = random.Random(workers)
    for name, tensor in state.items():
        whole = stored[name]
        assert torch.equal(whole, tensor) and (whole.dtype, whole.shape) == (tensor.dtype, tensor.shape)
        assert stored.shape(name) == tuple(tensor.shape)
        flat = tensor.reshape(-1)
        for _ in range(5):
            start, stop = sorted(rng.randrange(len(flat) + 1) for _ in range(2))
            target = torch.zeros(stop - start, dtype=tensor.dtype)
            stored.read_into(name, target, start=start)
            assert torch.equal(target, flat[start:stop]), (name, start, stop)


def test_targets_may_have_strides_and_another_type(tmp_path: Path) -> None:
    state = tensors()
    stored = StoredState(written(tmp_path, state, 2))
    strided = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    stored.read_into("strided", strided)
    assert torch.equal(strided, state["strided"])
    wide = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    stored.read_into("strided", wide)
    assert torch.equal(wide, state["strided"].double())
    stored.read_into("strided", wide[0, 0, 0, 1:4], start=1)
    assert torch.equal(wide, state["strided"].double())


def test_a_copy_keeps_what_training_changes(tmp_path: Path) -> None:
    state = tensors()
    expected = {name: tensor.clone() for name, tensor in state.items()}
    copy = PartCopy(slices_of(state))
    assert copy.nbytes == sum(tensor.nbytes for tensor in state.values())
    for tensor in state.values():
        tensor.zero_()
    copy.write(tmp_path / "part")
    stored = StoredState([str(tmp_path / "part")])
    assert all(torch.equal(stored[name], tensor) for name, tensor in expected.items())


def test_files_may_be_removed_once_they_are_open(tmp_path: Path) -> None:
    paths = written(tmp_path, tensors(), 2)
    stored = StoredState(paths)
    for path in paths:
        Path(path).unlink()
    assert stored["scalar"] == 2.5
    stored.close()
    assert not stored.keys()


def test_parts_are_files_of_safetensors(tmp_path: Path) -> None:
    """Its readers find whole tensors, and slices with their places."""
    state = tensors()
    (alone,) = written(tmp_path, state, 1)
    loaded = load_file(alone)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    parts = written(tmp_path, {"a": torch.arange(5.0)}, 2)
    with safe_open(parts[1], "pt") as part:
        assert torch.equal(part.get_tensor("a[3:5]"), torch.tensor([3.0, 4.0]))
        assert part.metadata() == {"a[3:5]": '{"tensor": "a", "shape": [5], "start": 3}'}


def test_files_of_whole_tensors_are_parts(tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in tensors().items()}
    save_file(state, tmp_path / "part", {"format": "pt"})
    stored = StoredState([str(tmp_path / "part")])
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())


def test_each_element_must_be_in_one_part(tmp_path: Path) -> None:
    parts = written(tmp_path, {"a": torch.arange(9.0), "b": torch.ones(2)}, 3)
    again = tmp_path / "again"
    PartCopy([TensorSlice("a", (9,), 2, torch.ones(3))]).write(again)
    for missing in itertools.combinations(parts, 2):
        with pytest.raises(ValueError, match=r"the parts of the checkpoint do not have [ab] exactly once"):
            StoredState(missing)
    with pytest.raises(ValueError, match="do not have a exactly once"):
        StoredState([*parts, str(again)])


def test_a_file_that_is_truncated_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    (path,) = written(tmp_path, {"a": torch.ones(1000)}, 1)
    stored = StoredState([path])
    with open(path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match="has been truncated"):
        stored["a"]
