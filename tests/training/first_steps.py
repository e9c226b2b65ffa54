"""Trains the first steps of recipes in the current checkout, for `tests.training.compare_checkouts`.

The script also runs in older checkouts, so it uses few names of the project, and supports their former spellings.
"""

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import mulan
from tests.training.inline import train_inline
from tests.training.same import digests

try:
    from mulan.recipes.registry import load_recipe, named_recipes
except ImportError:  # before 0.1.0
    from mulan.config.recipes import named_recipes

    from mulan.config.recipe import load_recipe

FORMER = {"grad_norm": "gradient_norm"}
"""Former names of metrics, before 0.1.0."""

RENAMED_SCORES = {"n_items": "num_items", "n_queries": "num_queries", "n_tags": "num_tags"}
"""Current names of validation scores by the former ones, before 0.1.0."""


def first_steps(recipe: Any, run_uri: str) -> dict[str, Any]:
    """Returns losses, gradient norms and validation scores as hexadecimal floats, and digests of the final tensors."""
    lines, state = train_inline(recipe, run_uri)
    validations = [line["validation"] for line in lines if "validation" in line]
    scores = [sorted((RENAMED_SCORES.get(name, name), score) for name, score in each.items()) for each in validations]
    return {
        "loss": _series(lines, "loss"),
        "grad_norm": _series(lines, "grad_norm"),
        "validation": [[name, float(score).hex()] for validation in scores for name, score in validation],
        "recordings": [next(line[name] for name in line if name.startswith("recordings")) for line in lines],
        "state": digests(state),
    }


def _series(lines: list[dict[str, Any]], name: str) -> list[str]:
    return [float(line.get(name, line.get(FORMER.get(name, "")))).hex() for line in lines]


def main() -> None:
    given = json.loads(sys.argv[1])
    assert Path(mulan.__file__).is_relative_to(Path.cwd()), f"{mulan.__file__} is in another checkout"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    torch.set_num_threads(1)
    known, results = named_recipes(), {}
    named = (known,) if "named" in inspect.signature(load_recipe).parameters else ()  # before 0.1.0
    for name in given["recipes"] or [name for name in known if name == "demo" or name.endswith("_miniature")]:
        print(name, file=sys.stderr, flush=True)
        try:
            recipe = load_recipe(name, *named, [f"train.steps={given['steps']}"], data_uri=given["uri"])
            results[name] = first_steps(recipe, os.path.join(given["folder"], "runs", name))
        except Exception as error:
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    Path(given["result"]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
