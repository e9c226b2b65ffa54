"""Tests the listing of files below a folder, on the local disk, in memory and on S3."""

import os
import socket
from pathlib import Path

import pytest

from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError
from mulan.storage.listing import files_below
from tests.conftest import S3
from tests.s3_proxy import ACCESS_DENIED

NAMES = [
    "#1 100%+ [live]*?.mp3",
    "a b/c d.mp3",
    "a/z.wav",
    "a.wav",
    "b/1/2/3/deep.flac",
    "~.mp3",
    "élan.mp3",
    "日本/歌.mp3",
]
HIDDEN = [".hidden.mp3", ".git/a.mp3", "a/.b/c.mp3", "__MACOSX/a/z.wav", "lost+found/a.mp3", "$RECYCLE.BIN/a.mp3"]


def written(uri: str, names: list[str]) -> str:
    for name in names:
        filesystem.write_atomically(filesystem.join(uri, name), name.encode())
    return uri


def test_the_visible_files_are_listed_in_the_order_of_their_paths(storage_uri: str) -> None:
    written(storage_uri, [*reversed(NAMES), *HIDDEN])
    assert list(files_below(storage_uri)) == sorted(NAMES)
    for name in files_below(storage_uri):
        assert filesystem.read_bytes(filesystem.join(storage_uri, name)) == name.encode()


def test_files_on_s3_are_listed(s3: S3) -> None:
    names = [name for name in NAMES if "//" not in name]
    uri = f"{s3.uri}/a folder"
    written(uri, [*names, *HIDDEN])
    for marker in ("a folder/", "a folder/marker/"):  # what consoles of S3 create for a folder
        s3.files.call_s3("put_object", Bucket=s3.uri.removeprefix("s3://"), Key=marker, Body=b"")
    before = files_below(uri)
    assert list(before) == sorted(names)
    assert list(files_below(s3.uri)) == sorted(f"a folder/{name}" for name in names)
    s3.files.pipe_file(f"{uri}/a.wav", b"other")  # of the same size
    changed = {name for name, version in files_below(uri).items() if version != before[name]}
    assert changed == {"a.wav"}
    with pytest.raises(FileNotFoundError):
        files_below(f"{s3.uri}/absent")
    s3.proxy.fail(ACCESS_DENIED)
    with pytest.raises(StoragePermanentError, match=r"cannot be listed: .*access is denied"):
        files_below(uri)


def test_only_wanted_files_are_listed(storage_uri: str) -> None:
    written(storage_uri, [*NAMES, *HIDDEN])
    asked = []

    def wanted(path: str) -> bool:
        asked.append(path)
        return path.endswith(".wav")

    assert list(files_below(storage_uri, wanted)) == ["a.wav", "a/z.wav"]
    assert sorted(asked) == sorted(NAMES)


def test_a_version_changes_with_the_file(storage_uri: str) -> None:
    written(storage_uri, ["a.wav", "b.wav"])
    first = files_below(storage_uri)
    assert files_below(storage_uri) == first and len(set(first.values())) == 2
    filesystem.write_atomically(filesystem.join(storage_uri, "a.wav"), b"other")  # of the same size
    second = files_below(storage_uri)
    assert second["a.wav"] != first["a.wav"] and second["b.wav"] == first["b.wav"]


def test_a_missing_folder_and_a_file_are_no_folders(storage_uri: str) -> None:
    written(storage_uri, ["a.wav"])
    with pytest.raises(FileNotFoundError):
        files_below(filesystem.join(storage_uri, "absent"))
    with pytest.raises(NotADirectoryError):
        files_below(filesystem.join(storage_uri, "a.wav"))


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    assert files_below(str(tmp_path)) == {}


def test_links_are_followed_but_not_to_parent_folders(tmp_path: Path) -> None:
    written(str(tmp_path / "outside"), ["x/1.wav"])
    root = tmp_path / "root"
    written(str(root), ["a/2.wav", "b/3.wav"])
    (root / "a" / "loop").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "there").symlink_to(tmp_path / "outside")
    (root / "b" / "again").symlink_to(root / "a")
    (root / "4.wav").symlink_to(root / "b" / "3.wav")
    listed = files_below(str(root), lambda path: path.endswith(".wav"))
    assert list(listed) == ["4.wav", "a/2.wav", "b/3.wav", "b/again/2.wav", "there/x/1.wav"]
    assert listed["4.wav"] == listed["b/3.wav"]


def test_two_folders_with_links_to_each_other_end(tmp_path: Path) -> None:
    written(str(tmp_path), ["a/1.wav", "b/2.wav"])
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert list(files_below(str(tmp_path))) == ["a/1.wav", "a/b/2.wav", "b/2.wav", "b/a/1.wav"]


def test_a_link_without_a_target_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "unmounted" / "gone.wav")
    assert files_below(str(tmp_path)) == {"gone.wav": ""}


def test_pipes_and_sockets_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(str(tmp_path), ["a.wav"])
    os.mkfifo(tmp_path / "pipe.wav")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.wav")
        assert list(files_below(str(tmp_path))) == ["a.wav"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoragePermanentError, match=r"loop cannot be listed: .*check the URI"):
        files_below(str(tmp_path / "loop"))


def test_names_that_are_not_unicode_are_listed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp3")).write_bytes(b"")
    assert [os.fsencode(name) for name in files_below(str(tmp_path))] == [b"caf\xe9.mp3"]
