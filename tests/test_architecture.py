"""Tests the structure of the code: imports between packages, restricted and late imports."""

import ast
import functools
import graphlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _of_mulan(names: str) -> set[str]:
    return {f"mulan.{name}" for name in names.split()}


PACKAGES: dict[str, set[str]] = {
    "mulan.config": set(),
    "mulan.private_ray": set(),
    "mulan.recipes": _of_mulan("config"),
    "mulan.storage": _of_mulan("config"),
    "mulan.pages": set(),
    "mulan.vocabularies": set(),
    "mulan.distributed": set(),
    "mulan.data": _of_mulan("config private_ray storage"),
    "mulan.model": _of_mulan("config data storage"),
    "mulan.preparation": _of_mulan("config data model pages private_ray storage vocabularies"),
    "mulan.objectives": _of_mulan("config distributed model"),
    "mulan.evaluation": _of_mulan("config data model pages storage vocabularies") | {"mulan"},
    "mulan.collection": _of_mulan("config data evaluation model preparation private_ray storage"),
    "mulan.demo": _of_mulan("config data storage"),
    "mulan.tasks": _of_mulan("config data distributed evaluation model objectives"),
    # the algorithm alone: it knows neither storage nor launcher
    "mulan.training": _of_mulan("config data distributed model tasks"),
    "mulan.telemetry": _of_mulan("config data model"),
    "mulan.runs": _of_mulan("config data distributed model storage tasks training"),
    "mulan.instrumentation": _of_mulan("config distributed storage training"),
    "mulan.submission": _of_mulan("config private_ray storage"),
    "mulan.tracking": _of_mulan("config runs storage"),
    "mulan.monitoring": _of_mulan("config evaluation pages runs storage"),
    "mulan.search": _of_mulan("collection config data evaluation model storage"),
    "mulan.serving": _of_mulan("config data model pages search storage"),
    "mulan.launch": _of_mulan(
        "config data distributed evaluation instrumentation model monitoring private_ray runs storage tasks telemetry "
        "tracking training"
    ),
    "mulan.debugging": _of_mulan("config data distributed launch model runs storage tasks training"),
    "mulan.benchmarks": _of_mulan(
        "collection config data distributed evaluation instrumentation launch model objectives preparation recipes "
        "runs search storage tasks telemetry tracking training"
    )
    | {"mulan"},
    "mulan.planning": _of_mulan("benchmarks config data model preparation runs storage telemetry training"),
    "mulan": _of_mulan("model"),
    "jobs": _of_mulan(
        "benchmarks collection config data debugging demo evaluation instrumentation launch monitoring planning "
        "preparation recipes runs search serving storage submission tracking"
    ),
    "tune": _of_mulan("config data evaluation launch pages private_ray recipes runs storage") | {"jobs"},
}
"""The packages that each package may import from; ``mulan`` alone is its ``__init__``, which provides MuLan."""

KEPT_TO: dict[str, tuple[str, ...]] = {
    "ray.data": ("mulan/data/", "mulan/evaluation/", "mulan/preparation/", "mulan/private_ray/core.py"),
    "ray.util.metrics": ("mulan/telemetry/publisher.py",),
    "ray.train": ("mulan/launch/", "mulan/private_ray/train.py"),
    "ray.tune": ("tune/",),
    "ray.serve": ("mulan/serving/deployment.py",),
    "fastapi": ("mulan/serving/",),
    "lancedb": ("mulan/search/table.py",),
    "mlflow": ("mulan/tracking/mlflow_run.py",),
    "torch.utils.tensorboard": ("mulan/tracking/tensorboard_files.py",),
    "wandb": ("mulan/tracking/wandb_run.py",),
    "optuna": ("tune/optuna_points.py", "tune/importance.py"),
    "kubernetes": ("mulan/submission/kubernetes_api.py",),
    "pathspec": ("mulan/submission/selection.py",),
    "ray.autoscaler": ("mulan/submission/launcher.py", "mulan/private_ray/"),
    "ray.job_submission": ("mulan/submission/",),
    "deepspeed": ("mulan/training/engines/deepspeed.py", "mulan/training/engines/exact.py"),
}
"""Libraries, with the only files that may import them."""

PRIVATE_RAY = ("mulan/private_ray/", "tests/private_ray/")
USING_RAYS_OWN_CHECKS = {
    "tests/cluster/test_image.py": "no public interface lists the variables that Ray Train passes on",
    "tests/cluster/test_manifests.py": "Ray's check of launcher configurations has no public interface",
}

IMPORTED_LATE = {
    "mulan/serving/deployment.py": "the libraries of models, which only the processes of the server need",
    "jobs/joining.py": "a refused job does not wait for Ray",
    "jobs/ablate.py": "a refused job does not wait for the libraries of models",
    "jobs/bench_data.py": "the libraries of a benchmark are loaded only for it",
    "jobs/bench_gpu.py": "the libraries of a benchmark are loaded only for it",
    "jobs/bench_search.py": "the libraries of a benchmark are loaded only for it",
    "jobs/bench_training.py": "the libraries of a benchmark are loaded only for it",
    "jobs/demo.py": "a refused job does not wait for the libraries of models",
    "jobs/embed.py": "a refused job does not wait for the libraries of models",
    "jobs/evaluate.py": "a refused job does not wait for the libraries of models",
    "jobs/export.py": "a refused job does not wait for the libraries of models",
    "jobs/plan.py": "a refused job does not wait for the libraries of models",
    "jobs/prepare.py": "a refused job does not wait for Ray and the libraries of models",
    "jobs/runs.py": "only a comparison needs matplotlib",
    "jobs/search.py": "a refused search does not wait for the libraries of models",
    "jobs/serve.py": "a refused server does not wait for Ray",
    "jobs/submit.py": "a refused submission does not wait for Ray, or need the client of Kubernetes",
    "jobs/train.py": "a refused job does not wait for the libraries of models",
    "jobs/train_text_filter.py": "a refused job does not wait for the libraries of models",
    "mulan/__init__.py": "commands that only read a recipe do not wait for torch",
    "mulan/benchmarks/checkpoint_process.py": "DeepSpeed chooses its accelerator from the environment of the worker",
    "mulan/benchmarks/index_process.py": "only what is measured in Ray needs it",
    "mulan/benchmarks/step_process.py": "DeepSpeed and decoders may not be installed to measure the plain step",
    "mulan/data/text.py": "processes that read do not wait for transformers",
    "mulan/evaluation/metrics/tagging.py": "workers that train without tags do not wait for scikit-learn",
    "mulan/evaluation/mteb_model.py": "mteb is an optional dependency",
    "mulan/launch/checks.py": "a refused job does not wait for the libraries of models",
    "mulan/launch/cluster.py": "a refused job does not wait for Ray",
    "mulan/launch/display.py": "a refused job does not wait for Ray",
    "mulan/launch/worker.py": "DeepSpeed chooses its accelerator when imported, from the environment of the worker",
    "mulan/monitoring/live_report.py": "the driver of a run does not wait for matplotlib",
    "mulan/preparation/pipeline.py": "without models, no process of a preparation loads their libraries",
    "mulan/debugging/replay.py": "DeepSpeed chooses its accelerator when imported; this process has chosen one",
    "mulan/tracking/registry.py": "trackers are optional dependencies, and take seconds to import",
    "tests/conftest.py": "Ray reads its environment when imported",
    "tune/sweep.py": "a refused sweep does not wait for Ray",
}
"""Files with imports inside functions, and the reasons."""

LOADED_WITHOUT = {
    "mulan/benchmarks/gpu.py": {"ray", "deepspeed", "av", "soundfile"},
    "mulan/benchmarks/loss.py": {"ray", "deepspeed", "av", "soundfile"},
    "mulan/benchmarks/step_process.py": {"ray", "deepspeed", "av", "soundfile"},
}
"""Benchmarks that run where only PyTorch is installed, and libraries that they must not load at once."""


def python_files(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


CODE = python_files("mulan", "jobs", "tune")


@functools.cache
def imported(file: str) -> tuple[tuple[str, bool], ...]:
    """Returns every module that a file imports, and whether the import is inside a function."""
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


def imported_at_once(file: str) -> set[str]:
    """Returns what a file imports when it is loaded: neither inside functions nor only for type checkers."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    deferred = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    plain = [node for node in ast.walk(tree) if isinstance(node, ast.Import) and node not in deferred]
    of_modules = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node not in deferred]
    return {alias.name for node in plain for alias in node.names} | {
        f"{node.module}.{alias.name}" for node in of_modules for alias in node.names
    }


def module_in(name: str, modules: Mapping[str, str]) -> str | None:
    """Returns the module of the project that a dotted name is, or is defined in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def package_of(module: str) -> str | None:
    """Returns the package of a module by its dotted name; None for third-party code."""
    first, _, rest = module.partition(".")
    if first != "mulan":
        return first if first in PACKAGES else None
    folder = rest.partition(".")[0]
    return f"mulan.{folder}" if folder and (ROOT / "mulan" / folder).is_dir() else "mulan"


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def packages_imported() -> dict[str, dict[str, list[str]]]:
    """Returns the other packages that each package imports, with the files that import them."""
    packages: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in CODE:
        here = package_of(module_of(file))
        assert here is not None
        for module, _ in imported(file):
            there = package_of(module)
            if there is not None and there != here:
                packages[here][there].append(file)
    return packages


def test_every_package_has_a_rule() -> None:
    assert {package_of(module_of(file)) for file in CODE} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_allowed_packages(package: str) -> None:
    forbidden = {
        there: files for there, files in packages_imported()[package].items() if there not in PACKAGES[package]
    }
    assert not forbidden


def test_packages_have_no_import_cycle() -> None:
    graph = {package: set(there) for package, there in packages_imported().items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError


def test_modules_have_no_import_cycle() -> None:
    """Imports inside functions and those only for type checkers do not count."""
    names = {module_of(file): file for file in CODE}
    graph = {
        file: {names[found] for module in imported_at_once(file) if (found := module_in(module, names))} - {file}
        for file in CODE
    }
    assert any(graph.values())
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names them


def loaded_with(file: str) -> set[str]:
    """Returns the libraries that are loaded with a file, also by the modules that it imports."""
    names, files, libraries = {module_of(file): file for file in CODE}, [file], set()
    for each in files:  # grows meanwhile
        for module in imported_at_once(each):
            own = module_in(module, names)
            if own is None:
                libraries.add(module.partition(".")[0])
            elif names[own] not in files:
                files.append(names[own])
    return libraries


@pytest.mark.parametrize(("file", "absent"), LOADED_WITHOUT.items())
def test_some_modules_load_no_library_that_may_be_absent(file: str, absent: set[str]) -> None:
    assert "torch" in loaded_with(file)
    assert loaded_with(file) & absent == set()


def test_the_module_of_a_dotted_name() -> None:
    names = {"mulan.a": "mulan/a.py", "mulan.a.b": "mulan/a/b.py"}
    assert [module_in(name, names) for name in ("mulan.a.b.C", "mulan.a.b")] == ["mulan.a.b"] * 2
    assert (module_in("mulan.a.C", names), module_in("torch.nn", names)) == ("mulan.a", None)


@pytest.mark.parametrize("library", KEPT_TO)
def test_libraries_are_imported_only_where_allowed(library: str) -> None:
    users = {file for file in CODE if any(is_within(module, library) for module, _ in imported(file))}
    assert {file for file in users if not file.startswith(KEPT_TO[library])} == set()
    assert {place for place in KEPT_TO[library] if not any(file.startswith(place) for file in users)} == set()


def is_private_of_ray(module: str) -> bool:
    """Returns whether a module or a part of its name is private; ``ray.train.v2`` is, since ``ray.train`` exports its
    public part."""
    first, *rest = module.split(".")
    return first == "ray" and (rest[:2] == ["train", "v2"] or any(part.startswith("_") for part in rest))


def arguments_named(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg is not None}


def test_private_interfaces_of_ray_are_used_only_in_private_ray() -> None:
    files = [file for file in [*CODE, *python_files("tests")] if not file.startswith(PRIVATE_RAY)]
    users = {file for file in files if any(is_private_of_ray(module) for module, _ in imported(file))}
    assert users == set(USING_RAYS_OWN_CHECKS)
    assert {file for file in files if any(name.startswith("_") for name in arguments_named(file))} == set()


def test_imports_are_at_the_top() -> None:
    late = {file for file in [*CODE, *python_files("tests")] if any(inside for _, inside in imported(file))}
    assert late == set(IMPORTED_LATE)
