"""Tests that digests differ if names or contents differ, and in nothing else."""

import os
from itertools import combinations
from pathlib import Path

from mulan.evaluation.encoders.digest import file_sha256, files_sha256, folder_sha256, text_sha256


def test_a_file_has_its_own_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # the example of FIPS 180
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_folders_differ_by_names_and_contents(tmp_path: Path) -> None:
    contents = [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"a": "1", "b/b": "2"}, {"a": "12"}]
    digests = []
    for number, files in enumerate(contents):
        folder = tmp_path / str(number)
        for name, content in reversed(files.items()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        digests.append(folder_sha256(folder))
        os.utime(folder / "a", (1, 1))
        (folder / ".hidden").write_text("3")
        assert folder_sha256(folder) == digests[-1]
        assert files_sha256(folder, list(files)) == files_sha256(folder, reversed(files)) == digests[-1]
    assert all(one != other for one, other in combinations(digests, 2))


def test_texts_differ_by_where_one_ends() -> None:
    texts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("1\na",), ("a", "1\n")]
    assert all(text_sha256(*one) != text_sha256(*other) for one, other in combinations(texts, 2))
    assert text_sha256("ä", "c") == text_sha256("ä", "c")
