"""Tests that the lock file has all dependencies for every supported Python, and that failures have a remedy."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
SUPPORTED = SpecifierSet(PROJECT["requires-python"])
PYTHONS = [version for version in (f"3.{minor}.0" for minor in range(40)) if version in SUPPORTED]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".make" / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_specifier(python: str) -> None:
    environment = {"python_full_version": python, "python_version": python.removesuffix(".0"), "sys_platform": "linux"}
    pins = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(environment)]
    names = [canonical(pin.name) for pin in pins]
    assert sorted(set(names)) == sorted(names)
    versions = {name: str(pin.specifier).removeprefix("==") for name, pin in zip(names, pins, strict=True)}
    for requirement in map(
        Requirement, [*PROJECT["dependencies"], *EXTRAS["cluster"], *EXTRAS["demo"], *EXTRAS["dev"]]
    ):
        assert requirement.specifier.contains(versions[canonical(requirement.name)]), requirement


def test_unsupported_python_versions_are_refused(install: ModuleType) -> None:
    assert PYTHONS == ["3.11.0", "3.12.0", "3.13.0"]
    for minor in range(20):
        if f"3.{minor}.0" in PYTHONS:
            install.check_python((3, minor))
        else:
            with pytest.raises(install.Failure, match=rf"is Python 3\.{minor}; mulan needs 3\.11, 3\.12, 3\.13\."):
                install.check_python((3, minor))


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/six/\n"
            "ERROR: No matching distribution found for six==1.17.0",
            "could not be reached",
        ),
        ("ERROR: No matching distribution found for six==1.99", "lacks this version"),
        ("ERROR: something else", "whole output is in"),
    ],
)
def test_errors_of_pip_are_shown_with_a_remedy(install: ModuleType, output: str, remedy: str) -> None:
    first, *rest = install.explained(output).splitlines()
    assert first == output.splitlines()[-1]
    assert remedy in rest[0]


@pytest.mark.processes
def test_an_incomplete_environment_is_created_again(tmp_path: Path) -> None:
    for file in ("Makefile", "requirements.lock", "pyproject.toml", ".make/install.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "partial").touch()
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    process = subprocess.run(
        ["make", f"PYTHON={sys.executable}", ".venv/installed"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode != 0
    assert "could not be reached" in process.stderr, process.stdout + process.stderr
    assert len(process.stdout.splitlines()) < 10
    assert not (tmp_path / ".venv" / "installed").exists()
    assert not (tmp_path / ".venv" / "partial").exists()
