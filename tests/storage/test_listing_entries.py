"""Tests the listing of one folder with sizes and times."""

import os
import time
from pathlib import Path

import pytest

from mulan.storage import filesystem
from mulan.storage.listing import FolderEntry, entries_in
from tests.conftest import S3


@pytest.fixture(params=["local", "memory", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "folder")
    if request.param == "memory":
        return f"memory://entries-{tmp_path.name}/folder"
    s3: S3 = request.getfixturevalue("s3")
    return f"{s3.uri}/folder"


def test_files_and_folders_have_names_sizes_and_times(uri: str) -> None:
    assert entries_in(uri) == {}
    before = time.time()
    filesystem.write_atomically(f"{uri}/b", b"12345")
    filesystem.write_atomically(f"{uri}/a/deep/file", b"1")
    found = entries_in(uri)
    assert list(found) == ["a", "b"]
    assert found["a"].is_folder and not found["b"].is_folder and found["b"].size == 5
    modified = found["b"].modified
    assert modified is not None and before - 2 <= modified <= time.time() + 2  # whole seconds on S3
    assert entries_in(f"{uri}/b") == {}  # a file


def test_the_marker_of_a_folder_is_no_entry(s3: S3) -> None:
    fs, path = filesystem.url_to_fs(f"{s3.uri}/marked")
    filesystem.write_atomically(f"{s3.uri}/marked/marked", b"1")
    fs.pipe_file(f"{path}/", b"")
    assert {name: entry.size for name, entry in entries_in(f"{s3.uri}/marked").items()} == {"marked": 1}


def test_a_time_of_a_local_file_is_that_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    os.utime(tmp_path / "file", (5.0, 7.5))
    assert entries_in(str(tmp_path)) == {"file": FolderEntry(is_folder=False, size=1, modified=7.5)}


def test_links_to_folders_are_folders(tmp_path: Path) -> None:
    (tmp_path / "there" / "run").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there" / "run")
    (tmp_path / "here" / "broken").symlink_to(tmp_path / "nowhere")
    found = entries_in(str(tmp_path / "here"))
    assert [(name, each.is_folder, each.size) for name, each in found.items()] == [
        ("broken", False, 0),
        ("link", True, 0),
    ]
