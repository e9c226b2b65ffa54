"""Checkpoints: read back as written, and passed over when anything of them is missing."""

from pathlib import Path

import fsspec
import pytest
import torch

from mulan.training.checkpoint import (
    Progress,
    checkpoint_name,
    latest_checkpoint,
    read_state,
    weights,
    write_checkpoint,
)

FILES = ("state.safetensors", "progress.json", "manifest.json")


def state_of(steps: int) -> dict[str, torch.Tensor]:
    tensor = torch.arange(3.0) + steps
    return {
        "weights.tower.weight": tensor,
        "weights.tower.count": torch.tensor(steps),
        "exp_avg.tower.weight": -tensor,
        "exp_avg_sq.tower.weight": tensor.square(),
    }


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def put_checkpoint(run_uri: str, steps: int, aside: Path) -> str:
    """Writes a whole checkpoint into a run; its URI."""
    folder = aside / f"{steps}"
    folder.mkdir(parents=True)
    write_checkpoint(folder, state_of(steps), Progress(steps_done=steps, replaced=steps // 2))
    uri = f"{run_uri}/{checkpoint_name(steps)}"
    fs, path = fsspec.core.url_to_fs(uri)
    fs.makedirs(path, exist_ok=True)
    for file in folder.iterdir():
        fs.pipe_file(f"{path}/{file.name}", file.read_bytes())
    return uri


def test_the_newest_is_found_and_read_back(run_uri: str, tmp_path: Path) -> None:
    assert latest_checkpoint(run_uri) is None
    uris = [put_checkpoint(run_uri, steps, tmp_path / "aside") for steps in (900, 1000, 20)]
    found = latest_checkpoint(run_uri)
    assert found == (uris[1], Progress(steps_done=1000, replaced=500))
    state, expected = read_state(uris[1]), state_of(1000)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) and state[name].dtype == expected[name].dtype for name in state)
    assert weights(state).keys() == {"tower.weight", "tower.count"}
    assert torch.equal(weights(state)["tower.weight"], expected["weights.tower.weight"])


def test_what_is_no_checkpoint_is_passed_over(run_uri: str, tmp_path: Path) -> None:
    uri = put_checkpoint(run_uri, 5, tmp_path / "aside")
    fs, path = fsspec.core.url_to_fs(run_uri)
    for name in ("checkpoint_7", "checkpoint_000000008.part", "checkpoint_manager", "model", "xcheckpoint_000000009"):
        for file in FILES:
            fs.makedirs(f"{path}/{name}", exist_ok=True)
            fs.pipe_file(f"{path}/{name}/{file}", fs.cat_file(f"{fsspec.core.url_to_fs(uri)[1]}/{file}"))
    assert latest_checkpoint(run_uri) == (uri, Progress(steps_done=5, replaced=2))


def test_a_checkpoint_cut_off_at_any_byte_is_passed_over(run_uri: str, tmp_path: Path) -> None:
    before, newest = (put_checkpoint(run_uri, steps, tmp_path / "aside") for steps in (3, 6))
    fs, path = fsspec.core.url_to_fs(newest)
    for file in FILES:
        content = fs.cat_file(f"{path}/{file}")
        for length in range(len(content)):
            fs.pipe_file(f"{path}/{file}", content[:length])
            found = latest_checkpoint(run_uri)
            assert found is not None
            assert found[0] == before, f"{file} cut to {length} of {len(content)} bytes"
        fs.pipe_file(f"{path}/{file}", content)
        assert latest_checkpoint(run_uri) == (newest, Progress(steps_done=6, replaced=3))


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_that_lacks_a_file_is_passed_over(file: str, run_uri: str, tmp_path: Path) -> None:
    before, newest = (put_checkpoint(run_uri, steps, tmp_path / "aside") for steps in (3, 6))
    fs, path = fsspec.core.url_to_fs(newest)
    fs.rm_file(f"{path}/{file}")
    found = latest_checkpoint(run_uri)
    assert found is not None
    assert found[0] == before
    fs.rm(fsspec.core.url_to_fs(before)[1], recursive=True)
    assert latest_checkpoint(run_uri) is None


def test_the_folders_sort_by_step() -> None:
    names = [checkpoint_name(steps) for steps in (0, 9, 10, 99_999, 100_000, 44_000_000)]
    assert names == sorted(names)
