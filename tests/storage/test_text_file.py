"""Tests that a text file is read from any storage, and that what stands in its place is named with the remedy."""

from pathlib import Path

import pytest

from mulan.storage import filesystem
from mulan.storage.text_file import UnusableTextFile, read_text_file


def test_a_file_is_read_from_any_storage_without_its_byte_order_mark(storage_uri: str) -> None:
    uri = filesystem.join(storage_uri, "a b.json")
    filesystem.write_atomically(uri, "\ufeff[1]\r\n".encode())
    assert read_text_file(uri, remedy="download it") == "[1]\r\n"
    with pytest.raises(UnusableTextFile, match=r"there is no file .*absent\.json; download it"):
        read_text_file(filesystem.join(storage_uri, "absent.json"), remedy="download it")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b" \n", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<p>404</p>", "is a web page"),
        (b"other/ontology.json\n", "is a symbolic link .* which is other/ontology.json"),
        (b"[\n\xe9]", "line 2: not UTF-8"),
        (b"[\n\n\0\0", "line 3: zeros"),
    ],
)
def test_a_file_that_is_not_the_file_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UnusableTextFile, match=rf"a\.json.* ?{fault}.*; download it"):
        read_text_file(str(tmp_path / "a.json"), remedy="download it")
