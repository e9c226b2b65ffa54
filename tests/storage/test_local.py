"""Tests that the check for a writable folder changes nothing."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError


def tree(folder: Path) -> list[tuple[str, int]]:
    """Returns everything below a folder, with the times of modification."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_check_does_not_create_the_folder(tmp_path: Path) -> None:
    for name in ("runs/demo", "a::b/ü [1]*?%41#/x", "deep/" * 20):
        filesystem.check_writable(str(tmp_path / name))
        filesystem.check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_check_does_not_change_a_run(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "demo"
    filesystem.write_atomically(str(run / "recipe.toml"), b"recipe")
    before = tree(tmp_path)
    over = threading.Event()
    writer = threading.Thread(
        target=lambda: [
            filesystem.write_atomically(f"{tmp_path}/new/{i}/x", b"") for i in range(200) if not over.is_set()
        ]
    )
    writer.start()
    for _ in range(100):
        filesystem.check_writable(str(run))
        filesystem.check_writable(f"{tmp_path}/new/7")
    over.set()
    writer.join()
    assert [entry for entry in tree(tmp_path) if "/new" not in entry[0] and Path(entry[0]).is_file()] == [
        entry for entry in before if Path(entry[0]).is_file()
    ]
    assert [name for name, _ in tree(tmp_path) if ".writable" in name] == []


def test_a_folder_that_is_created_during_the_check_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = os.path.isdir

    def creates_it_afterwards(path: str) -> bool:
        was_there = seen(path)
        with suppress(FileExistsError):
            os.mkdir(tmp_path / "new")
        return was_there

    monkeypatch.setattr(os.path, "isdir", creates_it_afterwards)
    filesystem.check_writable(f"{tmp_path}/new")


def test_paths_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for uri, reason in {
        "/proc/nope": "/proc/nope cannot be written: ",
        f"{tmp_path}/file": "Not a directory",
        f"{tmp_path}/file/runs/demo": "Not a directory",
        f"{tmp_path}/nowhere/demo": "Not a directory",
        f"{tmp_path}/{'x' * 300}/demo": "File name too long",
        f"{tmp_path}/new/{'x' * 300}": "File name too long",
        "https://example.invalid/runs": "a web server is read-only",
    }.items():
        with pytest.raises(StoragePermanentError) as caught:
            filesystem.check_writable(uri)
        assert f"{uri} cannot be written" in str(caught.value)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(
        StoragePermanentError, match=r"cannot be written: Permission denied; access is denied: allow this user to"
    ):
        filesystem.check_writable(str(tmp_path / "demo"))


def test_a_check_leaves_memory_storage_unchanged() -> None:
    fs, _ = filesystem.url_to_fs("memory://")
    before = (sorted(fs.store), sorted(fs.pseudo_dirs))
    filesystem.check_writable("memory://never/there")
    assert (sorted(fs.store), sorted(fs.pseudo_dirs)) == before
