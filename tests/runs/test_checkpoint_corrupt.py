"""Tests that checkpoints of all versions are read, and that what is damaged in any way is skipped with its reason."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from mulan.runs.checkpoint import newest_copy
from mulan.runs.checkpoint_list import checkpoint_name, remove_checkpoint
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.training.tensor_slices import TensorSlice, share_of
from tests.checkpoints import newest, put, slices_of, state_of


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def put_files(run_uri: str, steps: int, parts: Mapping[str, bytes], progress: bytes = b"") -> str:
    """Writes a checkpoint of files with any content, which its manifest lists."""
    progress = progress or json.dumps({"steps_done": steps, "skipped_recordings": {}}).encode()
    contents, uri = {**parts, "progress.json": progress}, f"{run_uri}/{checkpoint_name(steps)}"
    for name, content in contents.items():
        filesystem.write_atomically(f"{uri}/{name}", content)
    files = {name: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in contents.items()}
    manifest = {"files": files, "score": None, "generation": 1}
    filesystem.write_atomically(f"{uri}/manifest.json", json.dumps(manifest).encode())
    return uri


def content_of(slices: Iterable[TensorSlice], folder: Path) -> bytes:
    PartCopy(slices).write(folder / "part")
    return (folder / "part").read_bytes()


def test_checkpoints_of_earlier_versions_are_read(run_uri: str, tmp_path: Path) -> None:
    """They had whole tensors in one file, and then parts whose names had no generation."""
    save_file(state_of(7), tmp_path / "state")
    uri = put_files(run_uri, 7, {"state.safetensors": (tmp_path / "state").read_bytes()})
    assert newest(run_uri) == (uri, [])
    shares = [share_of(slices_of(state_of(8)), rank, 2) for rank in range(2)]
    parts = {f"state-{rank:05d}-of-00002.safetensors": content_of(own, tmp_path) for rank, own in enumerate(shares)}
    uri = put_files(run_uri, 8, parts)
    assert newest(run_uri) == (uri, [])


A = torch.arange(6.0)
UNFIT = {
    "a gap": (
        [TensorSlice("a", (6,), 0, A[:2]), TensorSlice("a", (6,), 3, A[3:])],
        "not have a exactly once from element 2 on",
    ),
    "an overlap": (
        [TensorSlice("a", (6,), 0, A[:4]), TensorSlice("a", (6,), 3, A[3:])],
        "not have a exactly once from element 4 on",
    ),
    "another type": (
        [TensorSlice("a", (6,), 0, A[:3]), TensorSlice("a", (6,), 3, A[3:].double())],
        "have a as float32 [6] and as float64 [6]",
    ),
    "another shape": (
        [TensorSlice("a", (6,), 0, A[:3]), TensorSlice("a", (2, 3), 3, A[3:])],
        "have a as float32 [2, 3] and as float32 [6]",
    ),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_parts_that_do_not_fit_are_treated_like_corrupt_ones(fault: str, tmp_path: Path) -> None:
    slices, reason = UNFIT[fault]
    run_uri = str(tmp_path / "run")
    before = put(run_uri, 3)
    parts = {
        f"state-g1-{rank:05d}-of-00002.safetensors": content_of([one], tmp_path) for rank, one in enumerate(slices)
    }
    after = put_files(run_uri, 6, parts)
    found, messages = newest(run_uri)
    assert found == before
    assert len(messages) == 1 and messages[0].startswith(f"{after} is corrupt (") and reason in messages[0]
    assert messages[0].endswith("; the checkpoint before it is used")


@pytest.mark.parametrize(
    ("part", "progress", "reason"),
    [
        (b"", b"", "no part of a state"),
        (b"\xff" * 100, b"", "its header is longer than the file"),
        (b"\x02" + bytes(7) + b"[]", b"", "no part of a state"),
        (b"\x09" + bytes(7) + b'{"a": {}}', b"", "no part of a state: KeyError"),
        (None, b'{"steps": 6}', "its progress cannot be read: .*steps"),
        (None, b"{", "its progress cannot be read"),
    ],
)
def test_files_that_match_their_digests_but_cannot_be_read_are_corrupt(
    part: bytes | None, progress: bytes, reason: str, tmp_path: Path
) -> None:
    run_uri = str(tmp_path / "run")
    before = put(run_uri, 3)
    content = content_of(slices_of(state_of(6)), tmp_path) if part is None else part
    put_files(run_uri, 6, {"state-g1-00000-of-00001.safetensors": content}, progress)
    found, messages = newest(run_uri)
    assert found == before
    assert len(messages) == 1 and re.search(reason, messages[0])


def test_a_file_that_is_gone_before_it_is_opened_is_a_storage_error(tmp_path: Path) -> None:
    """All workers then end with this error, instead of waiting for the one that has it."""
    uri = put(str(tmp_path), 3)
    with newest_copy(str(tmp_path), on_corrupt=pytest.fail) as copy:
        assert copy is not None
        remove_checkpoint(uri)
        with pytest.raises(StorageError, match=rf"{uri} cannot be opened: .*No such file"):
            copy.open()


def test_a_truncated_or_corrupt_checkpoint_is_skipped(run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    fs, path = fsspec.core.url_to_fs(after)
    for file in filesystem.names_in(after):
        content = fs.cat_file(f"{path}/{file}")
        for length in range(len(content)):
            fs.pipe_file(f"{path}/{file}", content[:length])
            assert newest(run_uri)[0] == before, f"{file} cut to {length} of {len(content)} bytes"
            if file != "manifest.json":
                flipped = bytes([content[length] ^ 1])
                fs.pipe_file(f"{path}/{file}", content[:length] + flipped + content[length + 1 :])
                uri, messages = newest(run_uri)
                assert uri == before, f"{file}, byte {length} changed"
                assert len(messages) == 1 and after in messages[0]
        fs.pipe_file(f"{path}/{file}", content)
        assert newest(run_uri) == (after, [])
