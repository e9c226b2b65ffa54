"""Checkpoints: read back as written, and passed over when anything of them is missing or spoiled."""

import fsspec
import pytest
import torch

from mulan.training.checkpoint import (
    Progress,
    checkpoint_name,
    checkpoints,
    read_newest,
    remove_checkpoint,
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


def put(run_uri: str, steps: int) -> str:
    return write_checkpoint(run_uri, state_of(steps), Progress(steps, {"silent": steps // 2}))


def newest(run_uri: str) -> tuple[str | None, list[str]]:
    """URI of the checkpoint that is read, and what is told of others."""
    told: list[str] = []
    found = read_newest(run_uri, passed_over=told.append)
    if found is not None:
        expected = state_of(found.progress.steps_done)
        assert found.state.keys() == expected.keys()
        for name, tensor in found.state.items():
            assert torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype
    return (found and found.uri), told


def test_the_newest_is_found_and_read_back(run_uri: str) -> None:
    assert newest(run_uri) == (None, [])
    uris = [put(run_uri, steps) for steps in (900, 1000, 20)]
    assert newest(run_uri) == (uris[1], [])
    found = read_newest(run_uri, passed_over=pytest.fail)
    assert found is not None
    assert found.progress == Progress(steps_done=1000, replaced={"silent": 500})
    assert weights(found.state).keys() == {"tower.weight", "tower.count"}
    assert [one.steps_done for one in checkpoints(run_uri)] == [1000, 900, 20]


def test_what_is_no_checkpoint_is_passed_over(run_uri: str) -> None:
    uri = put(run_uri, 5)
    fs, path = fsspec.core.url_to_fs(run_uri)
    for name in ("checkpoint_7", "checkpoint_000000008.part", "checkpoint_manager", "model", "xcheckpoint_000000009"):
        for file in FILES:
            fs.makedirs(f"{path}/{name}", exist_ok=True)
            fs.pipe_file(f"{path}/{name}/{file}", fs.cat_file(f"{fsspec.core.url_to_fs(uri)[1]}/{file}"))
    assert newest(run_uri) == (uri, [])


def test_a_checkpoint_cut_off_or_spoiled_at_any_byte_is_passed_over(run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    fs, path = fsspec.core.url_to_fs(after)
    for file in FILES:
        content = fs.cat_file(f"{path}/{file}")
        for length in range(len(content)):
            fs.pipe_file(f"{path}/{file}", content[:length])
            assert newest(run_uri)[0] == before, f"{file} cut to {length} of {len(content)} bytes"
            if file != "manifest.json":
                flipped = bytes([content[length] ^ 1])
                fs.pipe_file(f"{path}/{file}", content[:length] + flipped + content[length + 1 :])
                uri, told = newest(run_uri)
                assert uri == before, f"{file}, byte {length} changed"
                assert len(told) == 1 and after in told[0]
        fs.pipe_file(f"{path}/{file}", content)
        assert newest(run_uri) == (after, [])


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_that_lacks_a_file_is_passed_over(file: str, run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    fs, path = fsspec.core.url_to_fs(after)
    fs.rm_file(f"{path}/{file}")
    assert newest(run_uri)[0] == before
    remove_checkpoint(before)
    assert newest(run_uri)[0] is None
    assert not fs.find(fsspec.core.url_to_fs(before)[1])


def test_one_is_written_in_place_of_another_of_its_step(run_uri: str) -> None:
    uri = write_checkpoint(run_uri, state_of(7), Progress(9))
    assert put(run_uri, 9) == uri
    assert newest(run_uri) == (uri, [])


def test_the_folders_sort_by_step() -> None:
    names = [checkpoint_name(steps) for steps in (0, 9, 10, 99_999, 100_000, 44_000_000)]
    assert names == sorted(names)
