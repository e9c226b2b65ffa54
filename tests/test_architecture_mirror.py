"""Tests that tests mirror the code: a test file for each module with logic, and a module for each test file."""

import ast
from pathlib import Path

from tests.test_architecture import CODE, ROOT, python_files

TESTS_OF_SEVERAL_MODULES = {
    "tests/test_architecture.py": "tests all modules",
    "tests/test_architecture_classes.py": "tests all modules",
    "tests/test_architecture_mirror.py": "tests all modules",
    "tests/test_architecture_sizes.py": "tests all modules",
    "tests/test_docs.py": "tests the documents",
    "tests/test_examples.py": "runs the examples in docstrings",
    "tests/test_long_groups.py": "tests the groups of long tests, which are not in the package",
    "tests/test_selection.py": "tests the selection of tests",
    "tests/test_install.py": "tests the installation, which is not in the package",
    "tests/chaos/test_chaos.py": "tests whole runs with killed processes",
    "tests/cluster/test_autoscaling.py": "tests jobs.train on an autoscaled cluster",
    "tests/cluster/test_image.py": "tests cluster/Dockerfile",
    "tests/cluster/test_manifests.py": "tests the manifests in cluster/",
    "tests/cluster/test_monitoring.py": "tests the alerts and the dashboard in cluster/",
    "tests/test_imports.py": "tests the imports of whole commands and processes",
    "tests/cluster/test_submit.py": "tests submitted jobs on a cluster like that of cluster/",
    "tests/fuzz/test_fuzz.py": "tests fuzzing, which is not in the package",
    "tests/private_ray/test_contract.py": "tests Ray",
    "tests/jobs/test_s3.py": "tests several jobs on S3",
    "tests/training/test_further_objectives_learn.py": "tests the results of whole training runs",
    "tests/training/test_invariance.py": "tests properties of all of training",
    "tests/training/test_recipes_at_all_layouts.py": "tests a property of all of training",
    "tests/training/test_recipes_on_workers.py": "tests a property of all of training",
}

TESTED_ELSEWHERE: dict[str, str] = {
    "mulan/benchmarks/checkpoint_process.py": "tests/benchmarks/test_checkpoints.py runs it as processes",
    "mulan/launch/attempt.py": "tests/launch/test_fit.py trains on Ray's workers",
    "mulan/serving/deployment.py": "tests/jobs/test_serve.py starts it on Ray Serve",
    "mulan/serving/replica.py": "tests/jobs/test_serve.py starts it on Ray Serve",
    "mulan/__init__.py": "tests/test_imports.py tests what it loads, and all tests of MuLan use it",
}
"""Modules with logic but without a test file of their name, and the tests that cover them."""

LONGER_THAN_A_MODULE = {
    "mulan/demo/genres.py": "a table of music",
    "tests/test_architecture.py": "the tables of the architecture, with their tests",
}
MAX_LINES = 350
MAX_FUNCTION_LINES = 60  # without the docstring


def module_tested(file: str) -> str | None:
    """Returns the module that a test file tests: ``tests/data/test_plan_x.py`` tests ``mulan/data/plan.py``."""
    folder, words = Path(file).parent.relative_to("tests"), Path(file).stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        for parent in (Path("mulan"), Path()):
            module = parent / folder / f"{'_'.join(words[:count])}.py"
            if (ROOT / module).is_file():
                return str(module)
    return None


def has_logic(file: str) -> bool:
    """Returns whether a module has a function that does more than call another one."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    compound = ast.If | ast.For | ast.While | ast.Try | ast.With | ast.Match
    return any(len(function.body) > 2 or isinstance(function.body[-1], compound) for function in functions)


TEST_FILES = [file for file in python_files("tests") if Path(file).name.startswith("test_")]


def test_every_test_file_tests_a_module() -> None:
    assert {file for file in TEST_FILES if module_tested(file) is None} == set(TESTS_OF_SEVERAL_MODULES)


def test_every_module_with_logic_has_a_test_file() -> None:
    tested = {module_tested(file) for file in TEST_FILES}
    assert {file for file in CODE if has_logic(file) and file not in tested} == set(TESTED_ELSEWHERE)
