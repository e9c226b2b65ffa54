"""Temporary folders: gone with their process, and never anybody else's."""

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
    """What a process has left that was killed; its folder."""
    with temporary_folder() as folder:
        left = parent / "mulan_checkpoint_left"
        left.mkdir()
        (left / "state.safetensors").write_bytes(b"as large as a model")
        written = Path(f"{folder}.lock").read_text()
        Path(f"{left}.lock").write_text(written if host is None else host)
    return left


def test_it_is_there_for_the_block_and_leaves_nothing(parent: Path) -> None:
    with temporary_folder() as folder:
        Path(folder, "state.safetensors").write_bytes(b"x")
    assert not list(parent.iterdir())
    with pytest.raises(KeyError), temporary_folder():
        raise KeyError
    assert not list(parent.iterdir())


@pytest.mark.processes
def test_what_a_killed_process_has_left_is_removed(parent: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(parent)]).returncode == -9
    assert len(list(parent.iterdir())) == 2
    with temporary_folder() as folder:
        assert {one.name for one in parent.iterdir()} == {Path(folder).name, f"{Path(folder).name}.lock"}


def test_one_in_use_is_left_alone_whoever_uses_it(parent: Path) -> None:
    """Nothing but the lock tells: a process number means nothing in another container."""
    left = leave_one(parent)
    with Path(f"{left}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with temporary_folder() as outer, temporary_folder() as inner:
            assert left.is_dir() and Path(outer).is_dir() and Path(inner).is_dir()
    with temporary_folder():
        assert not left.exists() and not Path(f"{left}.lock").exists()


def test_that_of_another_host_is_left_alone(parent: Path) -> None:
    """Where locks do not reach beyond a host, that host's seem free."""
    left = leave_one(parent, host="another-host")
    with temporary_folder():
        assert left.is_dir()


def test_one_that_is_just_being_made_is_left_alone(parent: Path) -> None:
    left = leave_one(parent, host="")
    with temporary_folder():
        assert left.is_dir()


def test_where_no_lock_can_be_asked_for_nothing_is_removed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave_one(parent)

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        with temporary_folder() as folder:
            assert left.is_dir()
            # where locks work for others, they must not take it for one that was left
            assert Path(f"{folder}.lock").read_text() == ""


def test_no_place_is_told_with_its_remedy(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(parent / "not-there"))
    with pytest.raises(StoragePermanentError, match=r"temporary files cannot be written: .*TMPDIR"), temporary_folder():
        pass
