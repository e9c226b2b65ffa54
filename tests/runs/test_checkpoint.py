"""Tests that checkpoints are read back as written, and skipped if they are incomplete or corrupt."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints, remove_checkpoint
from mulan.runs.lease import RunTakenOver, hold_lease
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.conftest import S3
from tests.s3_proxy import SLOW_DOWN, Cut, Silence
from tests.waiting import wait_until

PART = "state-00000-of-00001.safetensors"
FILES = (PART, "progress.json", "manifest.json")


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
    """Returns the URI of the checkpoint that is read, and the messages about corrupt ones."""
    messages: list[str] = []
    restored = read_newest(run_uri, on_corrupt=messages.append)
    if restored is not None:
        expected = state_of(restored.progress.steps_done)
        assert restored.state.keys() == expected.keys()
        for name, tensor in restored.state.items():
            assert torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype
    return (restored and restored.uri), messages


def test_the_newest_checkpoint_is_read_back(run_uri: str) -> None:
    assert newest(run_uri) == (None, [])
    uris = [put(run_uri, steps) for steps in (900, 1000, 20)]
    assert newest(run_uri) == (uris[1], [])
    restored = read_newest(run_uri, on_corrupt=pytest.fail)
    assert restored is not None
    assert restored.progress == Progress(steps_done=1000, skipped_recordings={"silent": 500})
    assert [one.steps_done for one in checkpoints(run_uri)] == [1000, 900, 20]


def test_a_checkpoint_of_whole_tensors_in_one_file_is_read(run_uri: str, tmp_path: Path) -> None:
    """Earlier versions wrote these."""
    save_file(state_of(7), tmp_path / "state")
    progress = json.dumps({"steps_done": 7, "skipped_recordings": {}}).encode()
    contents = {"state.safetensors": (tmp_path / "state").read_bytes(), "progress.json": progress}
    uri = f"{run_uri}/checkpoint_000000007"
    for name, content in contents.items():
        filesystem.write_atomically(f"{uri}/{name}", content)
    files = {name: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in contents.items()}
    manifest = {"files": files, "score": None, "generation": 1}
    filesystem.write_atomically(f"{uri}/manifest.json", json.dumps(manifest).encode())
    assert newest(run_uri) == (uri, [])


def test_other_folders_are_not_checkpoints(run_uri: str) -> None:
    uri = put(run_uri, 5)
    fs, path = fsspec.core.url_to_fs(run_uri)
    for name in ("checkpoint_7", "checkpoint_000000008.part", "checkpoint_manager", "model", "xcheckpoint_000000009"):
        for file in FILES:
            fs.makedirs(f"{path}/{name}", exist_ok=True)
            fs.pipe_file(f"{path}/{name}/{file}", fs.cat_file(f"{fsspec.core.url_to_fs(uri)[1]}/{file}"))
    assert newest(run_uri) == (uri, [])


def test_a_truncated_or_corrupt_checkpoint_is_skipped(run_uri: str) -> None:
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
                uri, messages = newest(run_uri)
                assert uri == before, f"{file}, byte {length} changed"
                assert len(messages) == 1 and after in messages[0]
        fs.pipe_file(f"{path}/{file}", content)
        assert newest(run_uri) == (after, [])


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_without_a_file_is_skipped(file: str, run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    fs, path = fsspec.core.url_to_fs(after)
    fs.rm_file(f"{path}/{file}")
    assert newest(run_uri)[0] == before
    remove_checkpoint(before)
    assert newest(run_uri)[0] is None
    assert not fs.find(fsspec.core.url_to_fs(before)[1])


def test_a_checkpoint_replaces_one_of_the_same_step(run_uri: str) -> None:
    uri = write_checkpoint(run_uri, state_of(7), Progress(9))
    assert put(run_uri, 9) == uri
    assert newest(run_uri) == (uri, [])


def test_a_driver_that_loses_its_lease_writes_no_manifest(run_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, others = filesystem.upload, ExitStack()

    def upload_meanwhile(path: str, uri: str) -> None:
        upload(path, uri)
        if uri.endswith(PART):
            others.enter_context(hold_lease(run_uri))

    with hold_lease(run_uri) as fence:
        write_checkpoint(run_uri, state_of(3), Progress(3), fence=fence)
    monkeypatch.setattr(filesystem, "upload", upload_meanwhile)
    with others, pytest.raises(RunTakenOver):
        write_checkpoint(run_uri, state_of(6), Progress(6), fence=fence)
    assert [one.steps_done for one in checkpoints(run_uri)] == [3]


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)


@pytest.mark.usefixtures("_short_pauses")
def test_a_checkpoint_is_complete_despite_transient_errors(s3: S3) -> None:
    for fault in (SLOW_DOWN, Cut.BEFORE, Cut.WITHIN, Cut.AFTER):
        s3.proxy.fail(fault, "DELETE", times=1)
        for file in FILES:
            s3.proxy.fail(fault, "PUT", file, times=1)
            s3.proxy.fail(fault, "GET", file, times=1)
    uri = put(s3.uri, 4)
    assert newest(s3.uri) == (uri, [])


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize("file", FILES)
def test_failing_storage_keeps_the_previous_checkpoint(file: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    before = put(s3.uri, 4)
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.1)
    s3.proxy.fail(Cut.WITHIN, "PUT", file)
    with pytest.raises(StorageError, match=rf"{s3.uri}/checkpoint_000000008/{file} cannot be written: \d+ attempts"):
        put(s3.uri, 8)
    s3.proxy.heal()
    assert newest(s3.uri) == (before, [])
    after = put(s3.uri, 8)
    assert newest(s3.uri) == (after, [])


WRITE = """
import sys, torch
from tests.checkpoints import write_checkpoint
from mulan.training.state import Progress
write_checkpoint(sys.argv[1], {"weights.a": torch.ones(1000)}, Progress(8))
"""


@pytest.mark.processes
def test_a_checkpoint_of_a_killed_writer_is_incomplete(s3: S3) -> None:
    before = put(s3.uri, 4)
    s3.proxy.requests.clear()
    s3.proxy.fail(Silence.NO_READING, "PUT", PART)
    with subprocess.Popen([sys.executable, "-c", WRITE, s3.uri]) as writer:
        try:
            wait_until(
                lambda: any(one.startswith("PUT") for one in s3.proxy.requests),
                what=lambda: f"a PUT; requests: {s3.proxy.requests}",
            )
        finally:
            writer.kill()
    s3.proxy.heal()
    assert newest(s3.uri) == (before, [])
    after = put(s3.uri, 8)
    assert newest(s3.uri) == (after, [])


ON_A_FULL_DISK = """
import resource, sys, torch
from mulan.storage.errors import StoragePermanentError
from tests.checkpoints import write_checkpoint
from mulan.training.state import Progress
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_checkpoint(sys.argv[1], {"weights.a": torch.ones(1000)}, Progress(8))
except StoragePermanentError as error:
    print(error)
"""


def test_a_removed_temporary_folder_is_not_reported_as_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    def remove_and_write(part: PartCopy, path: Path) -> None:
        path.parent.rmdir()
        write(part, path)

    write = PartCopy.write
    monkeypatch.setattr(PartCopy, "write", remove_and_write)
    messages = r"to the temporary folder .*; the folder was removed while in use; set TMPDIR to another local folder"
    with pytest.raises(StoragePermanentError, match=messages):
        put(str(tmp_path / "run"), 3)
    assert not list(folder.iterdir())


@pytest.mark.processes
def test_a_full_temporary_folder_is_named(tmp_path: Path) -> None:
    run_uri, folder = str(tmp_path / "run"), tmp_path / "temporary"
    before = put(run_uri, 4)
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder)}
    message = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, run_uri], check=True, capture_output=True, text=True, env=environment
    ).stdout
    assert f"folder {folder}/" in message and "File too large" in message and "TMPDIR" in message
    assert not list(folder.iterdir())
    assert newest(run_uri) == (before, [])
