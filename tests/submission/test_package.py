"""Tests packages: their content, that equal files make equal bytes, and their limits."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError
from mulan.submission.package import MARKER, Package, packed

COMMAND = Command(("python", "-m", "jobs.train", "--recipe", "recipes/my.toml"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder with a recipe, a program and a secret, which is the current one."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "my.toml").write_text("recipe")
    (tmp_path / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / ".env").write_text("secret")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def package_of(folder: Path | None, *, max_mib: float = 1.0) -> Package:
    package, _ = packed(COMMAND, folder=folder, max_mib=max_mib)
    assert package is not None
    return package


def contents(package: Package) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_without_a_folder_only_named_files_are_packed(project: Path) -> None:
    assert contents(package_of(None)) == {MARKER: b"", "recipes/my.toml": b"recipe"}


def test_a_folder_is_packed_with_its_executable_files(project: Path) -> None:
    package, notes = packed(COMMAND, folder=project, max_mib=1)
    assert package is not None
    assert contents(package) == {MARKER: b"", "recipes/my.toml": b"recipe", "run.sh": b"#!/bin/sh"}
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {MARKER: 0o644, "recipes/my.toml": 0o644, "run.sh": 0o755}
    assert notes == [".env: may hold secrets and is left out; give it by --env or on the cluster"]


def test_equal_files_make_equal_bytes(project: Path) -> None:
    before = package_of(project)
    os.utime(project / "run.sh", (1e9, 1e9))
    (project / "recipes" / "my.toml").chmod(0o600)
    assert package_of(project) == before
    (project / "recipes" / "my.toml").write_text("another")
    assert package_of(project).sha256 != before.sha256


def test_a_command_without_files_needs_no_package(project: Path) -> None:
    assert packed(Command(("python", "-m", "jobs.train", "--recipe", "demo")), folder=None, max_mib=1) == (None, [])


def test_a_named_folder_is_not_packed_and_this_is_said(project: Path) -> None:
    package, (note,) = packed(Command(("ls", "recipes")), folder=None, max_mib=1)
    assert package is None
    assert note == "recipes: is a folder here, which is not packed without --working-dir"


def test_a_package_that_is_too_large_names_the_largest_files(project: Path) -> None:
    for number in range(12):
        (project / f"data-{number:02d}").write_bytes(bytes(100_000 + number))
    with pytest.raises(SubmissionError) as refused:
        packed(COMMAND, folder=project, max_mib=1)
    message = str(refused.value)
    assert "more than 1: " in message
    assert message.index("data-11") < message.index("data-10") < message.index("data-02")
    assert "data-01" not in message


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="has no file to pack"):
        packed(Command(("true",)), folder=tmp_path, max_mib=1)
