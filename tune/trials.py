"""The trials of a sweep, run by Ray Tune, and the table of what came of them."""

import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.tune import Callback, RunConfig, TuneConfig, Tuner, grid_search, with_parameters, with_resources
from rich.console import Console
from rich.table import Table

from mulan.config.recipe import Recipe
from mulan.data.storage_errors import StorageError
from mulan.training.fit import ray_storage
from mulan.training.headline import headline
from mulan.training.run import Run
from tune.asha import ResumedAsha
from tune.errors import SweepError
from tune.planned import Trial, runs_uri
from tune.space import settings
from tune.trial import metric, trial

DRIVER_CPUS = 0.01
"""CPUs of a trial's driver, which only waits; its workers ask for their own."""


def run_trials(recipe: Recipe, run: Run, trials: Sequence[Trial], *, asked_for: int, concurrent: int) -> list[str]:
    """Runs what is left of a sweep's trials, and returns why some failed; each is a run in the sweep's folder.

    Args:
        run: the sweep.
        trials: all of them, of which the first ``asked_for`` shall come to their end.
        concurrent: must not be more than the cluster can ever run: drivers ask for next to nothing, so all would start,
            and wait for each other's workers for ever.
    """
    left = [one for one in trials[:asked_for] if not one.is_over(recipe)]
    over = [one for one in trials if one not in left]
    path, filesystem = ray_storage(run.storage_uri)
    trainable = with_resources(with_parameters(trial, base=recipe, runs_uri=runs_uri(run)), {"CPU": DRIVER_CPUS})
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupted sweep is not one that has come to its end
    scheduler = ResumedAsha(
        score=metric(recipe),
        over={one.run.name: one.scores(recipe) for one in over},
        begun={one.run.name: one.scores(recipe) for one in left},
        max_t=recipe.train.steps + 1,  # a trial that comes to its last step ends by itself, and gives back all
        grace_period=recipe.train.checkpoint_every_steps,
        reduction_factor=3,
    )
    tuner = Tuner(
        trainable,
        param_space={"trial": grid_search([{"name": one.run.name, "values": one.values} for one in left])},
        tune_config=TuneConfig(
            metric=metric(recipe), mode="max", max_concurrent_trials=concurrent, scheduler=scheduler
        ),
        run_config=RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[_Progress(recipe, left)],
        ),
    )
    return [str(error) for error in tuner.fit().errors]


def show(trials: Sequence[Trial], failures: Sequence[str], recipe: Recipe, console: Console) -> None:
    """Prints the trials, best first, and how to train with the best one's values.

    Raises:
        SweepError: no trial came to a validation.
    """
    found = [(one, scores[-1]) for one in trials if (scores := one.scores(recipe))]
    if not found:
        told = "; ".join(sorted(set(failures))) or "no error was reported"
        raise SweepError(f"no trial came to a validation: {told}")
    found.sort(key=lambda one: -one[1][1])
    fields = sorted(found[0][0].values)
    table = Table(title=f"{len(found)} trials, best first", title_justify="left")
    table.add_column("trial")
    for column in (*fields, "step", headline(recipe)[1]):
        table.add_column(column, justify="right")
    for one, (step, score) in found:
        table.add_row(one.run.name, *(f"{one.values[field]:.4g}" for field in fields), str(step), f"{score:.3f}")
    console.print(table)
    best = " ".join(f"--set {setting}" for setting in settings(found[0][0].values))
    console.print(f"best: {best}", soft_wrap=True)
    if failures:
        console.print(f"{len(failures)} trials failed, and go on by the same command: {failures[0]}", soft_wrap=True)


class _Progress(Callback):
    """A line for every validation of every trial; and it writes down which trials are over."""

    def __init__(self, recipe: Recipe, trials: Sequence[Trial]) -> None:
        self._score, self._heading = metric(recipe), headline(recipe)[1]
        self._trials = {one.run.name: one for one in trials}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self._score in result:
            name, score = trial.config["trial"]["name"], f"{self._heading} {result[self._score]:.3f}"
            values = "  ".join(settings(trial.config["trial"]["values"]))
            print(f"tune  {name}  step {result['step']}  {score}  {values}", flush=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with suppress(StorageError):  # then the next call takes it up once more
            self._trials[trial.config["trial"]["name"]].end((trial.last_result or {}).get("step", 0))


def room_for_trials(recipe: Recipe) -> int:
    """Trials that the cluster, as it is now, can run at once."""
    have, scale = ray.cluster_resources(), recipe.scale
    if scale.use_gpu:
        return max(1, int(have.get("GPU", 0) // scale.most_workers))
    return max(1, math.floor(have.get("CPU", 1) // (scale.most_workers * scale.cpus_per_worker + scale.data_cpus)))
