"""The trials of a sweep as they are planned, and what has become of them: all of it read from the sweep's folder.

A sweep that is started again is the sweep that never stopped: which point a trial tries depends on the recipe, the
sweep's name and the trial's number alone, and what it came to stands in its run.
"""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune import loguniform

from mulan.config.recipe import Recipe
from mulan.config.terms import selection_metric
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.storage import filesystem


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and the run that tries it."""

    values: dict[str, float]
    """By field of the recipe, as in ``--set``."""
    run: Run

    @property
    def _over_uri(self) -> str:
        return filesystem.join(self.run.uri, "over.json")

    def end(self, step: int) -> None:
        """Writes down that the trial has come to its last step, or was stopped at this one for good.

        Raises:
            StorageError: it could not be written.
        """
        filesystem.write_atomically(self._over_uri, json.dumps({"step": step}).encode())

    def is_over(self, recipe: Recipe) -> bool:
        """Whether nothing is left to be trained; not of a trial that failed or was interrupted."""
        newest = checkpoints(self.run.uri)[:1]
        return filesystem.exists(self._over_uri) or (bool(newest) and newest[0].steps_done >= recipe.train.steps)

    def scores(self, recipe: Recipe) -> list[tuple[int, float]]:
        """Steps and scores (:func:`mulan.config.terms.selection_metric`) of its validations until now.

        Raises:
            DamagedFile: its metrics are damaged.
        """
        name = selection_metric(recipe.loss.weights).name
        validated = [(line["step"], line["validation"]) for line in self.run.metrics() if "validation" in line]
        return [(step, scores[name]) for step, scores in validated if name in scores]


def planned(recipe: Recipe, sweep: Run, trials: int) -> list[Trial]:
    """The trials of a sweep: those asked for, and those that are there."""
    uri = runs_uri(sweep)
    there = [int(name[1]) + 1 for one in filesystem.names_in(uri) if (name := re.fullmatch(r"trial_(\d{4,9})", one))]
    return [
        Trial(_point(recipe, sweep, number), Run(uri, f"trial_{number:04d}")) for number in range(max([trials, *there]))
    ]


def runs_uri(sweep: Run) -> str:
    """The folder of a sweep's runs."""
    return filesystem.join(sweep.uri, "trials")


def _point(recipe: Recipe, sweep: Run, number: int) -> dict[str, float]:
    draws = np.random.default_rng([recipe.train.seed, zlib.crc32(sweep.name.encode()), number])
    space = search_space(recipe)
    return {field: float(f"{space[field].sample(random_state=draws):.6g}") for field in sorted(space)}


def search_space(recipe: Recipe) -> dict[str, Any]:
    """Learning rate, temperatures and loss weights of a recipe. Keys are recipe fields, as in ``--set``.

    The learning rate varies over a decade around the recipe's own; temperatures over the range that contrastive models
    are trained at; and, where there are several terms, the weight of each but the first over a decade around its own:
    only their ratios count.
    """
    weights, lr = recipe.loss.weights, recipe.optim.lr
    space = {"optim.lr": loguniform(lr / 10, min(lr * 10, 0.1))}
    if weights.contrastive:
        space["loss.temperature_init"] = loguniform(0.02, 0.5)
    if weights.semisupcon:
        space["semisupcon.temperature"] = loguniform(0.02, 0.5)
    terms = {name: weight for name, weight in weights if weight > 0}
    for name, weight in list(terms.items())[1:]:
        space[f"loss.weights.{name}"] = loguniform(weight / 10, weight * 10)
    return space


def settings(values: dict[str, Any]) -> list[str]:
    """The ``--set`` values of a point of the space."""
    return [f"{field}={value:.6g}" for field, value in sorted(values.items())]
