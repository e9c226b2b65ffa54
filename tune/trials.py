"""The trials of a sweep, run by Ray Tune."""

import logging
import os
from collections.abc import Sequence

from ray import ObjectRef
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner, grid_search, with_parameters, with_resources

from jobs.console import CONSOLE
from mulan.config.recipe import Recipe
from mulan.data.examples import MicroBatchReader
from mulan.training.fit import ray_storage
from mulan.training.heartbeat import telling
from mulan.training.lease import Fence
from mulan.training.run import Run
from mulan.training.trainer import in_words
from tune.asha import ResumedAsha
from tune.planned import Trial, runs_uri
from tune.reservations import given_back
from tune.room import beside_this_process
from tune.trial import metric, trial
from tune.watch import Watch


def run_trials(
    recipe: Recipe,
    run: Run,
    trials: Sequence[Trial],
    *,
    asked_for: int,
    concurrent: int,
    reader: "ObjectRef[MicroBatchReader]",
    fence: Fence,
) -> tuple[list[str], list[str]]:
    """Runs what is left of a sweep's trials; each is a run in the sweep's folder.

    Args:
        run: the sweep.
        trials: all of them, of which the first ``asked_for`` shall come to their end.
        concurrent: must not be more than the cluster can ever run: drivers ask for next to nothing, so all would start,
            and wait for each other's workers for ever.
        reader: of all trials.
        fence: of the sweep.

    Raises:
        RunTakenOver: another driver has the sweep since.

    Returns:
        what went wrong in trials that another attempt would not mend, and why others were given up.
    """
    left = [one for one in trials[:asked_for] if not one.is_over(recipe)]
    over = [one for one in trials if one not in left]
    path, filesystem = ray_storage(run.storage_uri)
    trainable = with_resources(
        with_parameters(trial, base=recipe, runs_uri=runs_uri(run), readers=[reader]), beside_this_process()
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # with their stacks
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupted sweep is not one that has come to its end
    scheduler = ResumedAsha(
        score=metric(recipe),
        over={one.run.name: one.scores(recipe) for one in over},
        begun={one.run.name: one.scores(recipe) for one in left},
        max_t=recipe.train.steps + 1,  # a trial that comes to its last step ends by itself, and gives back all
        grace_period=recipe.train.checkpoint_every_steps,
        reduction_factor=3,
    )
    watch = Watch(recipe, left, fence)
    losses = recipe.scale.max_failures
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
            callbacks=[watch],
            failure_config=FailureConfig(max_failures=-1 if losses is None else losses),
        ),
    )
    with given_back(), telling("tune", recipe.scale, CONSOLE):
        lost = [in_words(getattr(error, "cause", None) or error) for error in tuner.fit().errors]
    return watch.faults, lost
