"""The planned trials of a sweep and their state, read from the sweep's folder.

A resumed sweep equals one that never stopped: the point of a trial depends only on the recipe, the sweep's name and the
trial's number, and its results are in its run.
"""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune import loguniform

from mulan.config.recipe import Recipe
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile
from tune.errors import SweepError


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and the run that tries it."""

    values: dict[str, float]
    """The value of each varied field of the recipe, by its name as in ``--set``."""
    run: Run

    @property
    def _over_uri(self) -> str:
        return filesystem.join(self.run.uri, "over.json")

    def end(self, step: int, *, train_steps: int) -> None:
        """Records that the trial reached its last step, or was stopped for good.

        Args:
            step: The step at which it ended.
            train_steps: ``train.steps`` of the sweep; an earlier ``step`` means that the trial was stopped.

        Raises:
            StorageError: The record could not be written.
        """
        filesystem.write_atomically(self._over_uri, json.dumps({"step": step, "train_steps": train_steps}).encode())

    def is_over(self, recipe: Recipe) -> bool:
        """Returns whether nothing is left to train: the trial has all steps of ``recipe``, or ASHA stopped it for good.

        A trial that reached the last step of a shorter sweep continues, and so does one that failed or was interrupted.

        Raises:
            DamagedFile: The record of the trial's end is damaged.
        """
        if self.steps_saved() >= recipe.train.steps:
            return True
        if not filesystem.exists(self._over_uri):
            return False
        try:
            record = json.loads(filesystem.read_bytes(self._over_uri))
            step, train_steps = int(record["step"]), int(record["train_steps"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedFile(f"{self._over_uri} is damaged; remove it to continue the trial") from error
        was_stopped = step < train_steps
        return was_stopped or step >= recipe.train.steps

    def steps_saved(self) -> int:
        """Returns the number of steps of the newest checkpoint; 0 if there is none."""
        newest = checkpoints(self.run.uri)[:1]
        return newest[0].steps_done if newest else 0

    def scores(self, recipe: Recipe) -> list[tuple[int, float]]:
        """Returns the step and the score of each validation so far.

        The score is that of :attr:`mulan.config.recipe.Recipe.selection_metric`.

        Raises:
            DamagedFile: The trial's metrics are damaged.
        """
        name = recipe.selection_metric.name
        validated = [(line["step"], line["validation"]) for line in self.run.metrics() if "validation" in line]
        return [(step, scores[name]) for step, scores in validated if name in scores]


def planned_trials(recipe: Recipe, sweep: Run, trials: int) -> list[Trial]:
    """Returns the trials of a sweep: the requested number, or all existing ones if there are more.

    Raises:
        SweepError: A trial has been trained for more steps than the recipe's.
    """
    uri = runs_uri(sweep)
    existing = [
        int(name[1]) + 1 for entry in filesystem.names_in(uri) if (name := re.fullmatch(r"trial_(\d{4,9})", entry))
    ]
    planned = [
        Trial(_point(recipe, sweep, number), Run(uri, f"trial_{number:04d}"))
        for number in range(max([trials, *existing]))
    ]
    longest = max(planned, key=Trial.steps_saved)
    if (steps := longest.steps_saved()) > recipe.train.steps:
        raise SweepError(
            f"{longest.run.uri} has a checkpoint of step {steps}, so train.steps = {recipe.train.steps} cannot be "
            f"reached any more; set it to {steps} or more, or give another --name"
        )
    return planned


def runs_uri(sweep: Run) -> str:
    """Returns the URI of the folder of a sweep's runs."""
    return filesystem.join(sweep.uri, "trials")


def _point(recipe: Recipe, sweep: Run, number: int) -> dict[str, float]:
    draws = np.random.default_rng([recipe.train.seed, zlib.crc32(sweep.name.encode()), number])
    space = search_space(recipe)
    return {field: float(f"{space[field].sample(random_state=draws):.6g}") for field in sorted(space)}


def search_space(recipe: Recipe) -> dict[str, Any]:
    """Returns the search space of a recipe: learning rate, temperatures and loss weights, by field as in ``--set``.

    The learning rate varies by a factor of 10 around the recipe's own in both directions; temperatures vary over the
    range that contrastive models are trained at; and if there are several terms, the weight of each but the first
    varies by a factor of 10 around its own in both directions, since only their ratios matter.
    """
    weights, lr = recipe.loss.weights, recipe.optim.lr
    space = {"optim.lr": loguniform(lr / 10, min(lr * 10, 0.1))}
    if weights.embeds_text:
        space["loss.temperature_init"] = loguniform(0.02, 0.5)
    if weights.semisupcon:
        space["semisupcon.temperature"] = loguniform(0.02, 0.5)
    terms = {name: weight for name, weight in weights if weight > 0}
    for name, weight in list(terms.items())[1:]:
        space[f"loss.weights.{name}"] = loguniform(weight / 10, weight * 10)
    return space


def settings(values: dict[str, Any]) -> list[str]:
    """Returns the ``--set`` arguments of a point of the search space."""
    return [f"{field}={value:.6g}" for field, value in sorted(values.items())]
