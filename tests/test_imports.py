"""Tests that commands and processes import only what they need, so that help and refusals are immediate."""

import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mulan.data.reader import MicroBatchReader
from mulan.recipes.registry import load_recipe

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[1]

EVALUATION_LIBRARIES = ("sklearn", "scipy.stats", "matplotlib")
MODEL_LIBRARIES = ("torch", "transformers", "deepspeed", "scipy", *EVALUATION_LIBRARIES)
TRACKERS = ("mlflow", "tensorboard", "wandb")
HEAVY = ("ray", "pandas", *TRACKERS, *MODEL_LIBRARIES)

NO_CORPUS = ["--data", "/nowhere", "--storage", "/nowhere", "--name", "run"]
NO_RUN = ["--storage", "/nowhere", "--name", "run"]

COMMANDS: dict[str, list[list[str]]] = {
    "jobs.train": [
        ["--help"],
        ["--recipe", "none", *NO_CORPUS],
        ["--recipe", "demo", "--set", "train.stages=2", *NO_CORPUS],
        ["--recipe", "demo", *NO_CORPUS],
        ["--replay-step", "1", *NO_RUN],
    ],
    "jobs.demo": [["--help"], ["--recipe", "none"], ["--recipe", "m_resnet50_audioset", "--storage", "/nowhere"]],
    "jobs.ablate": [
        ["--help"],
        ["--recipe", "demo", "--task", "tags", *NO_CORPUS],
        ["--recipe", "m_ast", "--task", "tags", *NO_CORPUS],
    ],
    "jobs.embed": [["--help"], ["--model", "m", "--data", "nowhere://d", "--out", "/nowhere"]],
    "jobs.evaluate": [["--help"], NO_RUN],
    "jobs.export": [["--help"], NO_RUN],
    "jobs.bench": [
        ["--help"],
        ["step", "--set", "train.stages=2"],
        ["checkpoint", "--recipe", "none"],
        ["step", "--data", "/nowhere", "--dry-run"],
    ],
    "jobs.plan": [["--help"], ["--recipe", "m_ast", "--data", "/nowhere"], ["--compare", "/nowhere/run"]],
    "jobs.runs": [
        ["--help"],
        ["list", "--storage", "nowhere://runs"],
        ["show", "none", "--storage", "/nowhere"],
        ["watch", "none", "--storage", "/nowhere"],
        ["stop", "none", "--storage", "/nowhere"],
        ["compare", "none", "--out", "/nowhere.html"],
    ],
    "jobs.submit": [["--help"], ["--to", "head"], ["--to", "kuberay:music", "--manifest", "/nowhere", "--", "true"]],
    "jobs.train_text_filter": [["--help"], ["--labels", "/nowhere.csv", "--out", "/nowhere"]],
    "tune.sweep": [
        ["--help"],
        ["--recipe", "demo", "--trials", "0", *NO_CORPUS],
        ["--recipe", "demo", "--trials", "1", *NO_CORPUS],
        ["--recipe", "demo", "--trials", "1", "--space", "none", *NO_CORPUS],
        ["--recipe", "demo", "--trials", "1", "--search", "optuna", *NO_CORPUS],
    ],
}
"""Calls that end before anything is started: help, and invalid requests."""

MODULES: dict[str, tuple[str, ...]] = {
    "mulan": HEAVY,
    "mulan.tracking.follower": HEAVY,
    "mulan.launch.fit": (
        "transformers",
        "deepspeed",
        "scipy",
        *TRACKERS,
        *EVALUATION_LIBRARIES,
    ),  # imported by the driver and Ray Train's controller
    "mulan.training.worker": ("ray", *EVALUATION_LIBRARIES),  # the models of transformers import scipy
}
"""Modules, with the libraries that importing them must not load."""


def imports(code: str, *arguments: str) -> list[tuple[int, str]]:
    """Returns the depth and name of all modules that a fresh interpreter imports, each after those that it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, re.sub(r"import time:.*\n", "", done.stderr)
    lines = re.findall(r"^import time: +\d+ \| +\d+ \| ( *)(\S+)$", done.stderr, re.MULTILINE)
    assert lines
    return [(len(indent), module) for indent, module in lines]


def needless(modules: Sequence[tuple[int, str]], unwanted: Sequence[str]) -> list[str]:
    """Returns the unwanted modules that were imported, each with the chain of modules that import it."""
    chains = []
    for place, (depth, module) in enumerate(modules):
        if module in unwanted:
            chain = [module]
            for above, importer in modules[place + 1 :]:
                if above < depth:
                    chain.append(importer)
                    depth = above
            chains.append(" is imported by ".join(chain))
    return chains


def test_a_needless_import_is_reported_with_its_chain() -> None:
    modules, chain = imports("import json"), "json.scanner is imported by json.decoder is imported by json"
    assert needless(modules, ["json", "json.scanner", "torch"]) == [chain, "json"]


CALLS = """
import ast, contextlib, io, runpy, sys
module = sys.argv[1]
for arguments in ast.literal_eval(sys.argv[2]):
    sys.argv = [module, *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        else:
            code = None
    assert code == (0 if arguments[-1] == "--help" else 2), (arguments, code)
"""


@pytest.mark.parametrize("module", COMMANDS)
def test_help_and_refusals_import_no_heavy_library(module: str) -> None:
    assert needless(imports(CALLS, module, repr(COMMANDS[module])), HEAVY) == []


@pytest.mark.parametrize("module", MODULES)
def test_processes_import_only_what_they_need(module: str) -> None:
    assert needless(imports(f"import {module}"), MODULES[module]) == []


READS = """
import pickle, sys
import mulan.data.pipeline
from mulan.data.schedule import Item, Phase
with open(sys.argv[1], "rb") as file:
    reader = pickle.load(file)
assert reader(Item(Phase.TRAIN, 0, 0)).token_ids.any()
"""


def test_a_data_process_imports_no_model_library(tiny_corpus: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", [], data_uri=tiny_corpus)
    (tmp_path / "reader").write_bytes(pickle.dumps(MicroBatchReader.from_recipe(recipe)))
    assert needless(imports(READS, str(tmp_path / "reader")), MODEL_LIBRARIES) == []
