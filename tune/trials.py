"""The trials of a sweep, run by Ray Tune, and the table of what came of them."""

import logging
import math
from typing import Any

import ray
from ray.tune import Callback, ResultGrid, RunConfig, TuneConfig, Tuner, with_parameters, with_resources
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console
from rich.table import Table

from mulan.config.recipe import Recipe
from mulan.data import storage
from mulan.training.fit import ray_storage
from mulan.training.headline import headline
from mulan.training.run import Run
from tune.errors import SweepError
from tune.space import search_space, settings
from tune.trial import metric, trial

DRIVER_CPUS = 0.01
"""CPUs of a trial's driver, which only waits; its workers ask for their own."""


def run_trials(recipe: Recipe, run: Run, *, trials: int, concurrent: int) -> ResultGrid:
    """Runs the trials; each is a run in the sweep's folder.

    ``concurrent`` must not be more than the cluster can ever run: drivers ask for next to nothing, so all would start,
    and wait for each other's workers for ever.
    """
    path, filesystem = ray_storage(run.storage_uri)
    trainable = with_resources(
        with_parameters(trial, base=recipe, runs_uri=storage.join(run.uri, "trials")), {"CPU": DRIVER_CPUS}
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    tuner = Tuner(
        trainable,
        param_space=search_space(recipe),
        tune_config=TuneConfig(
            metric=metric(recipe),
            mode="max",
            num_samples=trials,
            max_concurrent_trials=concurrent,
            scheduler=ASHAScheduler(
                time_attr="step",
                max_t=recipe.train.steps + 1,  # a trial that comes to its last step ends by itself, and gives back all
                grace_period=recipe.train.checkpoint_every_steps,
                reduction_factor=3,
            ),
        ),
        run_config=RunConfig(
            name=run.name, storage_path=path, storage_filesystem=filesystem, verbose=0, callbacks=[_Lines(recipe)]
        ),
    )
    return tuner.fit()


def show(results: ResultGrid, recipe: Recipe, console: Console) -> None:
    """Prints the trials, best first, and how to train with the best one's values.

    Raises:
        SweepError: no trial came to a validation.
    """
    score, heading = metric(recipe), headline(recipe)[1]
    found = [result for result in results if result.metrics and score in result.metrics]
    if not found:
        errors = "; ".join(sorted({str(error) for error in results.errors})) or "no error was reported"
        raise SweepError(f"no trial came to a validation: {errors}")
    found.sort(key=lambda result: -float((result.metrics or {})[score]))
    fields = sorted((found[0].config or {}).keys())
    table = Table(title=f"{len(found)} trials, best first", title_justify="left")
    for column in (*fields, "step", heading):
        table.add_column(column, justify="right")
    for result in found:
        metrics, config = result.metrics or {}, result.config or {}
        table.add_row(
            *(f"{config[field]:.4g}" for field in fields),
            str(metrics["step"]),
            f"{metrics[score]:.3f}",
        )
    console.print(table)
    best = " ".join(f"--set {setting}" for setting in settings(found[0].config or {}))
    console.print(f"best: {best}", soft_wrap=True)
    if results.num_errors:
        console.print(f"{results.num_errors} trials failed: {results.errors[0]}", soft_wrap=True)


class _Lines(Callback):
    """A line for every validation of every trial."""

    def __init__(self, recipe: Recipe) -> None:
        self._score, self._heading = metric(recipe), headline(recipe)[1]

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self._score in result:
            values, score = "  ".join(settings(trial.config)), f"{self._heading} {result[self._score]:.3f}"
            print(f"tune  trial {trial.trial_id}  step {result['step']}  {score}  {values}", flush=True)


def room_for_trials(recipe: Recipe) -> int:
    """Trials that the cluster, as it is now, can run at once."""
    have, scale = ray.cluster_resources(), recipe.scale
    if scale.use_gpu:
        return max(1, int(have.get("GPU", 0) // scale.most_workers))
    return max(1, math.floor(have.get("CPU", 1) // (scale.most_workers * scale.cpus_per_worker + scale.data_cpus)))
