"""Tests that checkpoints are read back as written, and skipped if they are incomplete or corrupt."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoint_name, checkpoints, remove_checkpoint
from mulan.runs.lease import RunTakenOver, hold_lease
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.training.state import Progress
from tests.checkpoints import newest, put, state_of, write_checkpoint
from tests.conftest import S3
from tests.s3_proxy import SLOW_DOWN, Cut, Silence
from tests.waiting import wait_until

FILES = ("state-", "progress-", "manifest.json")
"""Begin of the name of each file of a checkpoint."""


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def name_in(uri: str, begin: str) -> str:
    """Returns the name of the only file of a checkpoint that begins so."""
    (name,) = [name for name in filesystem.names_in(uri) if name.startswith(begin)]
    return name


def test_the_newest_checkpoint_is_read_back(run_uri: str) -> None:
    assert newest(run_uri) == (None, [])
    uris = [put(run_uri, steps) for steps in (900, 1000, 20)]
    assert newest(run_uri) == (uris[1], [])
    restored = read_newest(run_uri, on_corrupt=pytest.fail)
    assert restored is not None
    assert restored.progress == Progress(steps_done=1000, skipped_recordings={"silent": 500})
    assert [one.steps_done for one in checkpoints(run_uri)] == [1000, 900, 20]


def test_other_folders_are_not_checkpoints(run_uri: str) -> None:
    uri = put(run_uri, 5)
    fs, path = fsspec.core.url_to_fs(run_uri)
    for name in ("checkpoint_7", "checkpoint_000000008.part", "checkpoint_manager", "model", "xcheckpoint_000000009"):
        for file in filesystem.names_in(uri):
            fs.makedirs(f"{path}/{name}", exist_ok=True)
            fs.pipe_file(f"{path}/{name}/{file}", fs.cat_file(f"{fsspec.core.url_to_fs(uri)[1]}/{file}"))
    assert newest(run_uri) == (uri, [])


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_without_a_file_is_skipped(file: str, run_uri: str) -> None:
    before, after = put(run_uri, 3), put(run_uri, 6)
    fs, path = fsspec.core.url_to_fs(after)
    fs.rm_file(f"{path}/{name_in(after, file)}")
    assert newest(run_uri)[0] == before
    remove_checkpoint(before)
    assert newest(run_uri)[0] is None
    assert not fs.find(fsspec.core.url_to_fs(before)[1])


def test_a_checkpoint_replaces_one_of_the_same_step(run_uri: str) -> None:
    uri = write_checkpoint(run_uri, state_of(7), Progress(9))
    assert put(run_uri, 9) == uri
    assert newest(run_uri) == (uri, [])


@pytest.mark.parametrize("last", [".safetensors", ".json", "manifest.json"])
def test_a_checkpoint_of_the_same_step_is_kept_until_it_is_replaced(
    last: str, run_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is killed after it has written its part, the progress or the manifest."""
    uri = put(run_uri, 9)
    later = {name: tensor + 1 for name, tensor in state_of(9).items()}
    for name in ("upload", "write_atomically"):
        write = getattr(filesystem, name)

        def write_and_end(*arguments: Any, write: Any = write) -> None:
            write(*arguments)
            if any(str(one).endswith(last) for one in arguments):
                raise KeyboardInterrupt

        monkeypatch.setattr(filesystem, name, write_and_end)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(run_uri, later, Progress(9))
    if last == "manifest.json":
        found = read_newest(run_uri, on_corrupt=pytest.fail)
        assert found is not None and all(torch.equal(found.state[name], tensor) for name, tensor in later.items())
    else:
        assert newest(run_uri) == (uri, [])


def test_a_driver_that_has_lost_its_lease_does_not_damage_the_checkpoint_of_the_next(
    run_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, others = filesystem.upload, ExitStack()
    stale = {name: tensor + 1 for name, tensor in state_of(6).items()}

    def upload_late(path: str, uri: str) -> None:
        monkeypatch.setattr(filesystem, "upload", upload)
        fence = others.enter_context(hold_lease(run_uri))
        write_checkpoint(run_uri, state_of(6), Progress(6), fence=fence)
        upload(path, uri)

    with hold_lease(run_uri) as fence:
        pass
    monkeypatch.setattr(filesystem, "upload", upload_late)
    with others:
        with pytest.raises(RunTakenOver):
            write_checkpoint(run_uri, stale, Progress(6), fence=fence)
        uri, messages = newest(run_uri)
        assert (uri, messages) == (f"{run_uri}/{checkpoint_name(6)}", [])
        names = filesystem.names_in(uri)
        assert sorted(re.sub("[0-9a-f]{8}", "*", name) for name in names) == [
            "manifest.json",
            "progress-g1-*.json",
            "progress-g2-*.json",
            "state-g1-00000-of-00001-*.safetensors",
            "state-g2-00000-of-00001-*.safetensors",
        ]


def test_a_driver_that_loses_its_lease_writes_no_manifest(run_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, others = filesystem.upload, ExitStack()

    def upload_meanwhile(path: str, uri: str) -> None:
        upload(path, uri)
        if uri.endswith(".safetensors"):
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
    with pytest.raises(StorageError, match=rf"{s3.uri}/checkpoint_000000008/{file}\S* cannot be written: \d+ attempts"):
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
    s3.proxy.fail(Silence.NO_READING, "PUT", FILES[0])
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
