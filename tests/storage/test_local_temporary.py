"""Tests that temporary folders of ended processes are removed, and all others are kept."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from mulan.storage.errors import StoragePermanentError
from mulan.storage.local import temporary_folder

KILLED = """
import os, signal, sys, tempfile
from mulan.storage.local import temporary_folder

tempfile.tempdir = sys.argv[1]
with temporary_folder() as folder:
    open(f"{folder}/state.safetensors", "wb").write(b"as large as a model")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def leave_one(parent: Path, *, host: str | None = None) -> Path:
    """Creates the remains of a killed process and returns its folder."""
    with temporary_folder() as folder:
        left = parent / "mulan_checkpoint_left"
        left.mkdir()
        (left / "state.safetensors").write_bytes(b"as large as a model")
        written = Path(f"{folder}.lock").read_text()
        Path(f"{left}.lock").write_text(written if host is None else host)
    return left


def test_the_folder_exists_during_the_block(parent: Path) -> None:
    with temporary_folder() as folder:
        Path(folder, "state.safetensors").write_bytes(b"x")
    assert not list(parent.iterdir())
    with pytest.raises(KeyError), temporary_folder():
        raise KeyError
    assert not list(parent.iterdir())


@pytest.mark.processes
def test_folders_of_killed_processes_are_removed(parent: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(parent)]).returncode == -9
    assert len(list(parent.iterdir())) == 2
    with temporary_folder() as folder:
        assert {one.name for one in parent.iterdir()} == {Path(folder).name, f"{Path(folder).name}.lock"}


def test_folders_in_use_are_kept(parent: Path) -> None:
    """Only the lock is relevant, because process ids are meaningless in other containers."""
    left = leave_one(parent)
    with Path(f"{left}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with temporary_folder() as outer, temporary_folder() as inner:
            assert left.is_dir() and Path(outer).is_dir() and Path(inner).is_dir()
    with temporary_folder():
        assert not left.exists() and not Path(f"{left}.lock").exists()


def test_folders_of_other_hosts_are_kept(parent: Path) -> None:
    """On a mount whose locks do not work between hosts, locks of other hosts seem free."""
    left = leave_one(parent, host="another-host")
    with temporary_folder():
        assert left.is_dir()


def test_folders_that_are_being_created_are_kept(parent: Path) -> None:
    left = leave_one(parent, host="")
    with temporary_folder():
        assert left.is_dir()


def test_no_folder_is_removed_without_file_locks(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave_one(parent)

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        with temporary_folder() as folder:
            assert left.is_dir()
            # processes for which locks work must not consider the folder stale
            assert Path(f"{folder}.lock").read_text() == ""


def test_a_folder_that_cannot_be_created_is_reported_with_a_remedy(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(parent / "not-there"))
    with pytest.raises(StoragePermanentError, match=r"temporary files cannot be written: .*TMPDIR"), temporary_folder():
        pass
