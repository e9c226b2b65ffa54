"""Trains a run on several numbers of workers and at every ZeRO stage, and compares digests: `make layouts`."""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import torch

from mulan.config.recipe import Recipe
from mulan.data.schedule import Schedule
from mulan.recipes.registry import load_recipe
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import digests as tensor_digests

DIGITS = 12

Digests = dict[str, str]
"""Digests by the name of their content."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.training.layouts", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--data", required=True, help="URI of a corpus")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--set", action="append", default=[], help="as of jobs.train")
    given = parser.parse_args()
    settings = [f"train.steps={given.steps}", f"train.checkpoint_every_steps={given.steps}", "scale.workers=1"]
    recipe = load_recipe(given.recipe, [*settings, *given.set], data_uri=given.data)
    for workers in given.workers:  # refuses numbers that cannot share the batch before anything is trained
        Schedule(recipe.train, recipe.batch, 0, workers, first_step=0)
    found: list[Digests] = []
    for workers in given.workers:
        for stage in given.stages:
            found.append(digests(recipe.replace({"train.zero_stage": stage}), workers))
            if len(found) == 1:
                print(" | ".join(("| workers", "ZeRO stage", *found[0])), "|\n" + "|---" * (2 + len(found[0])) + "|")
            print(" | ".join((f"| {workers}", f"{stage}", *found[-1].values())), "|", flush=True)
    return 0 if all(one == found[0] for one in found) else 1


def digests(recipe: Recipe, workers: int) -> Digests:
    """Trains in this number of local processes, and returns the digests of the first one."""
    with tempfile.TemporaryDirectory(prefix="layouts") as folder:
        return run_in_processes(_trained, workers, recipe, f"{folder}/run", folder=Path(folder, "results"))[0]


def _trained(recipe: Recipe, run_uri: str) -> Digests:
    lines, state = train_inline(recipe, run_uri)
    buffers = {name for name in state if name.startswith("weights.") and "running_" in name}
    return {
        "losses": _digest(repr([line["loss"] for line in lines])),
        "gradient norms": _digest(repr([line["grad_norm"] for line in lines])),
        "validations": _digest(repr([line.get("validation") for line in lines])),
        "weights": _of_tensors(state, {name for name in state if name.startswith("weights.")} - buffers),
        "moments and averages": _of_tensors(state, {name for name in state if name.startswith(("exp_avg", "ema."))}),
        "running statistics": _of_tensors(state, buffers),
    }


def _of_tensors(state: dict[str, torch.Tensor], names: set[str]) -> str:
    return _digest(repr(sorted(tensor_digests({name: state[name] for name in names}).items())))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


if __name__ == "__main__":
    sys.exit(main())
