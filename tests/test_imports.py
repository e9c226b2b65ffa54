"""What commands and processes load, each in an interpreter of its own: whoever is refused waits for no library."""

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

OF_EVALUATION = ("sklearn", "scipy.stats", "matplotlib")
OF_MODELS = ("torch", "transformers", "deepspeed", "scipy", *OF_EVALUATION)
HEAVY = ("ray", "pandas", *OF_MODELS)

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
    "jobs.evaluate": [["--help"], NO_RUN],
    "jobs.export": [["--help"], NO_RUN],
    "jobs.bench": [
        ["--help"],
        ["step", "--set", "train.stages=2"],
        ["checkpoint", "--recipe", "none"],
        ["step", "--data", "/nowhere", "--dry-run"],
    ],
    "tune.sweep": [
        ["--help"],
        ["--recipe", "demo", "--trials", "0", *NO_CORPUS],
        ["--recipe", "demo", "--trials", "1", *NO_CORPUS],
    ],
}
"""Calls that end before anything is started: help, and requests that cannot be met."""

MODULES: dict[str, tuple[str, ...]] = {
    "mulan": HEAVY,
    "mulan.launch.fit": ("transformers", "deepspeed", "scipy", *OF_EVALUATION),  # the driver, Ray Train's controller
    "mulan.training.worker": ("ray", *OF_EVALUATION),  # what transformers' own models need of scipy they load
}
"""What must not be loaded by importing each."""


def imports(code: str, *arguments: str) -> list[tuple[int, str]]:
    """What a fresh interpreter imports while it runs code, each after all that it imports itself, which is deeper."""
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


def needless(found: Sequence[tuple[int, str]], unwanted: Sequence[str]) -> list[str]:
    """Those that are loaded all the same, each with the chain of modules that import it."""
    chains = []
    for place, (depth, module) in enumerate(found):
        if module in unwanted:
            chain = [module]
            for above, importer in found[place + 1 :]:
                if above < depth:
                    chain.append(importer)
                    depth = above
            chains.append(" is imported by ".join(chain))
    return chains


def test_a_needless_import_is_told_with_its_chain() -> None:
    found, chain = imports("import json"), "json.scanner is imported by json.decoder is imported by json"
    assert needless(found, ["json", "json.scanner", "torch"]) == [chain, "json"]


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
def test_help_and_refusal_wait_for_no_library(module: str) -> None:
    assert needless(imports(CALLS, module, repr(COMMANDS[module])), HEAVY) == []


@pytest.mark.parametrize("module", MODULES)
def test_processes_load_what_they_need(module: str) -> None:
    assert needless(imports(f"import {module}"), MODULES[module]) == []


READS = """
import pickle, sys
import mulan.data.pipeline
from mulan.data.schedule import Item, Phase
with open(sys.argv[1], "rb") as file:
    reader = pickle.load(file)
assert reader(Item(Phase.TRAIN, 0, 0)).token_ids.any()
"""


def test_a_process_that_reads_loads_nothing_of_models(tiny_corpus: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", [], data_uri=tiny_corpus)
    (tmp_path / "reader").write_bytes(pickle.dumps(MicroBatchReader.from_recipe(recipe)))
    assert needless(imports(READS, str(tmp_path / "reader")), OF_MODELS) == []
