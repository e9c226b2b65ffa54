"""The shape of the code: who may import whom, what is imported where, and that tests mirror the package."""

import ast
import functools
import graphlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS: dict[str, set[str]] = {
    "mulan.config": set(),
    "mulan.private_ray": set(),
    "mulan.data": {"mulan.config", "mulan.private_ray"},
    "mulan.model": {"mulan.config", "mulan.data"},
    "mulan.objectives": {"mulan.config", "mulan.model"},
    "mulan.evaluation": {"mulan", "mulan.config", "mulan.data", "mulan.model"},
    "mulan.demo": {"mulan.config", "mulan.data"},
    "mulan.training": {
        "mulan.config",
        "mulan.data",
        "mulan.model",
        "mulan.objectives",
        "mulan.evaluation",
        "mulan.private_ray",
    },
    "mulan.benchmarks": {"mulan.config", "mulan.data", "mulan.model", "mulan.objectives", "mulan.training"},
    "mulan": {"mulan.model"},
    "jobs": {"mulan.benchmarks", "mulan.config", "mulan.data", "mulan.demo", "mulan.training"},
    "tune": {"mulan.config", "mulan.data", "mulan.private_ray", "mulan.training", "jobs"},
}
"""Each room with the rooms it may import from; "mulan" alone is the package's own file, which offers MuLan."""

KEPT_TO: dict[str, tuple[str, ...]] = {
    "ray.data": ("mulan/data/", "mulan/evaluation/", "mulan/private_ray/execution.py"),
    "ray.train": (
        "mulan/training/fit.py",
        "mulan/private_ray/controller.py",
        "mulan/private_ray/failures.py",
        "mulan/private_ray/scaling.py",
    ),
    "ray.tune": ("tune/",),
    "deepspeed": ("mulan/training/deepspeed_engine.py", "mulan/training/exact_engine.py"),
}
"""Libraries that only these files may know."""

PRIVATE_RAY = ("mulan/private_ray/", "tests/private_ray/")
USING_RAYS_OWN_CHECKS = {
    "tests/cluster/test_image.py": "which variables Ray Train hands on is told in no public place",
    "tests/cluster/test_manifests.py": "Ray's own check of a launcher's file has no public place",
}

IMPORTED_LATE = {
    "jobs/joining.py": "a refused job does not wait for Ray",
    "jobs/bench.py": "a kind's libraries are loaded only for it",
    "jobs/evaluate.py": "a refused job does not wait for the libraries of models",
    "jobs/export.py": "a refused job does not wait for the libraries of models",
    "jobs/train.py": "a refused job does not wait for the libraries of models",
    "mulan/__init__.py": "commands that only read a recipe do not wait for torch",
    "mulan/benchmarks/checkpoint_process.py": "DeepSpeed chooses its accelerator from the environment of the worker",
    "mulan/benchmarks/step_process.py": "DeepSpeed and decoders may not be installed where a plain step is measured",
    "mulan/data/text.py": "processes that read do not wait for transformers",
    "mulan/evaluation/metrics.py": "workers that train without tags do not wait for scikit-learn",
    "mulan/training/checks.py": "a refused job does not wait for the libraries of models",
    "mulan/training/cluster.py": "a refused job does not wait for Ray",
    "mulan/training/progress.py": "a refused job does not wait for Ray",
    "mulan/training/fit.py": "DeepSpeed chooses its accelerator when imported, from the environment of the worker",
    "mulan/training/replay.py": "DeepSpeed chooses its accelerator when imported, and this process has chosen a device",
    "tests/conftest.py": "Ray reads its environment when imported",
    "tune/sweep.py": "a refused sweep does not wait for Ray",
}
"""Files with imports inside functions, and why."""

TESTS_OF_NO_ONE_MODULE = {
    "tests/test_architecture.py": "of the whole",
    "tests/test_install.py": "of the installation, which is no part of the package",
    "tests/chaos/test_chaos.py": "of whole runs that are disturbed",
    "tests/cluster/test_autoscaling.py": "of jobs.train on a cluster whose nodes come and go",
    "tests/cluster/test_image.py": "of cluster/Dockerfile, which is not Python",
    "tests/cluster/test_manifests.py": "of the files in cluster/, which are not Python",
    "tests/test_imports.py": "of what whole commands and processes load",
    "tests/cluster/test_submit.py": "of jobs.train on a cluster of the shape of cluster/",
    "tests/config/test_pretrained_folder.py": "of mulan.config.pretrained; mulan.model has a module of the same name",
    "tests/data/test_bad_data.py": "of every kind of bad recording, from the shard to the batch",
    "tests/data/test_audio_properties.py": "of mulan.data.audio, with files of every format",
    "tests/data/test_odd_audio_files.py": "of mulan.data.audio, with files that are no part of the project",
    "tests/fuzz/test_fuzz.py": "of fuzzing, which is no part of the package",
    "tests/private_ray/test_contract.py": "of Ray, as mulan.private_ray needs it",
    "tests/jobs/test_s3.py": "of the jobs with their corpus and storage on S3",
    "tests/training/test_further_objectives_learn.py": "of what whole trainings come to",
    "tests/training/test_full_batch.py": "of a step of the paper's recipes",
    "tests/training/test_invariance.py": "of promises that all of training keeps together",
    "tests/training/test_recipes_at_all_layouts.py": "of a promise that all of training keeps together",
    "tests/training/test_recipes_on_workers.py": "of a promise that all of training keeps together",
}

LONGER_THAN_A_MODULE = {"mulan/demo/genres.py": "a table of music"}
MOST_LINES = 350


def python_files(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


CODE = python_files("mulan", "jobs", "tune")


@functools.cache
def imported(file: str) -> tuple[tuple[str, bool], ...]:
    """Every module that a file imports, wherever in the file, and whether that is inside a function."""
    return tuple(_imported(file))


def _imported(file: str) -> Iterator[tuple[str, bool]]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    late = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node in late


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str | None:
    """The room of a module by its dotted name; None for other people's code."""
    first, _, rest = module.partition(".")
    if first != "mulan":
        return first if first in ROOMS else None
    folder = rest.partition(".")[0]
    return f"mulan.{folder}" if folder and (ROOT / "mulan" / folder).is_dir() else "mulan"


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def rooms_imported() -> dict[str, dict[str, list[str]]]:
    """For each room, the other rooms it imports, each with the files that do."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in CODE:
        here = room_of(module_of(file))
        assert here is not None
        for module, _ in imported(file):
            there = room_of(module)
            if there is not None and there != here:
                found[here][there].append(file)
    return found


def test_every_room_has_its_rule() -> None:
    assert {room_of(module_of(file)) for file in CODE} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    forbidden = {there: files for there, files in rooms_imported()[room].items() if there not in ROOMS[room]}
    assert not forbidden


def test_no_two_rooms_need_each_other() -> None:
    graph = {room: set(there) for room, there in rooms_imported().items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError


@pytest.mark.parametrize("library", KEPT_TO)
def test_libraries_are_kept_to_their_place(library: str) -> None:
    users = {file for file in CODE if any(is_within(module, library) for module, _ in imported(file))}
    assert {file for file in users if not file.startswith(KEPT_TO[library])} == set()
    assert {place for place in KEPT_TO[library] if not any(file.startswith(place) for file in users)} == set()


def is_private_of_ray(module: str) -> bool:
    """Also what is private by a name within, and ``ray.train.v2``, which ``ray.train`` offers what is public of."""
    first, *rest = module.split(".")
    return first == "ray" and (rest[:2] == ["train", "v2"] or any(part.startswith("_") for part in rest))


def arguments_named(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg is not None}


def test_what_is_private_of_ray_is_kept_to_its_adapter() -> None:
    files = [file for file in [*CODE, *python_files("tests")] if not file.startswith(PRIVATE_RAY)]
    users = {file for file in files if any(is_private_of_ray(module) for module, _ in imported(file))}
    assert users == set(USING_RAYS_OWN_CHECKS)
    assert {file for file in files if any(name.startswith("_") for name in arguments_named(file))} == set()


def test_imports_stand_at_the_top() -> None:
    late = {file for file in [*CODE, *python_files("tests")] if any(inside for _, inside in imported(file))}
    assert late == set(IMPORTED_LATE)


def test_tests_mirror_the_package() -> None:
    files = [file for file in python_files("tests") if Path(file).name.startswith("test_")]
    strays = set()
    for file in files:
        room, name = Path(file).parent.name, Path(file).name.removeprefix("test_")
        if not any((ROOT / parent / name).is_file() for parent in (f"mulan/{room}", room)):
            strays.add(file)
    assert strays == set(TESTS_OF_NO_ONE_MODULE)
    names = [Path(file).name for file in files]
    assert sorted(set(names)) == sorted(names)


def test_no_file_is_long() -> None:
    lengths = {file: len((ROOT / file).read_text().splitlines()) for file in [*CODE, *python_files("tests")]}
    assert {file for file, length in lengths.items() if length > MOST_LINES} == set(LONGER_THAN_A_MODULE)
