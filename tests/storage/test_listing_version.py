import os
from pathlib import Path

import pytest

from mulan.storage import filesystem
from mulan.storage.listing import file_version
from tests.conftest import S3


def test_the_version_follows_the_content(storage_uri: str, s3: S3) -> None:
    for folder in (storage_uri, f"{s3.uri}/folder"):
        versions = []
        for content in (b"one", b"four"):
            filesystem.write_atomically(f"{folder}/a.csv", content)
            assert file_version(f"{folder}/a.csv") == file_version(f"{folder}/a.csv")
            versions.append(file_version(f"{folder}/a.csv"))
        assert versions[0] != versions[1]


def test_the_version_follows_the_time_of_the_last_change(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"one")
    before = file_version(f"{tmp_path}/a.csv")
    os.utime(tmp_path / "a.csv", ns=(1, 1))
    assert file_version(f"{tmp_path}/a.csv") != before


def test_what_is_not_a_file_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        file_version(f"{tmp_path}/a.csv")
    for missing in (f"{tmp_path}/b.csv", "memory://nowhere/b.csv"):
        with pytest.raises(FileNotFoundError):
            file_version(missing)
