"""Tests where the cache of a machine is, and that its locks exclude other processes."""

import fcntl
from pathlib import Path

import pytest

from mulan.storage.machine_cache import CACHE_VARIABLE, cache_folder, locked


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder("kind") == tmp_path / "kind"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("kind") == tmp_path / ".cache" / "mulan" / "kind"


def test_a_lock_excludes_other_processes_until_it_is_released(tmp_path: Path) -> None:
    """Another open file of this process is locked out like one of another process."""
    path = tmp_path / "file.lock"
    with locked(path), path.open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
