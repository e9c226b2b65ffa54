"""The trials of a sweep, run by Ray Tune."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import ray.tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner, with_parameters, with_resources
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import FIFOScheduler

from jobs.arguments import CONSOLE
from mulan.config.errors import USER_ERROR, MulanError
from mulan.config.recipe import Recipe
from mulan.launch.cluster import SharedReader
from mulan.launch.fit import fit, ray_storage
from mulan.launch.heartbeat import report_waiting
from mulan.recipes.registry import with_settings
from mulan.runs.lease import Fence
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped, stop_request_to
from tune.asha import ResumedAsha
from tune.early_stopping import EarlyStopping
from tune.optuna_points import choose_point
from tune.outcome import Outcome
from tune.plan import SweepOptions, SweepPlan
from tune.proposals import Proposals
from tune.reading import is_read_alike
from tune.room import driver_resources, release_reservations
from tune.stopping import ends_when_asked_to, wait_for_the_end
from tune.trial import FailureKind, Trial
from tune.watch import ERROR, ERROR_KIND, Watch

_KINDS: dict[str, FailureKind] = {
    "NonFiniteStep": "diverged",
    "EmbeddingsCollapsed": "collapsed",
    "OutOfMemoryError": "out of memory",
}
"""The kinds of failures by the error of the worker."""


def trial(
    config: dict[str, Any], *, base: Recipe, runs_uri: str, reader: SharedReader, sweep: Fence, score: str
) -> None:
    """Trains the recipe with the settings of ``config["trial"]``, in the trial's own run, from its newest checkpoint if
    there is one.

    Args:
        base: The recipe of the sweep.
        runs_uri: The folder of the trials' runs.
        reader: The reader of the recipe; a trial that needs another one opens the corpus itself.
        sweep: The fence of the sweep's lease, whose request to stop is that of the trial.
        score: The name under which the objective is reported.

    Raises:
        MulanError: Another attempt, which Tune makes, may succeed. Permanent errors are reported instead.
    """
    if stop_request_to([sweep]) is not None:
        wait_for_the_end()
    run = Run(runs_uri, config["trial"]["name"])
    try:
        recipe = with_settings(base, config["trial"]["settings"], name="sweep")
        shared = reader if is_read_alike(recipe, base) else None
        fit(recipe, run, reader=shared, callbacks=[TuneReportCallback()], sweep=sweep)
    except RunStopped:
        wait_for_the_end()
    except MulanError as error:
        if error.exit_code != USER_ERROR:
            raise
        kind = _KINDS.get(getattr(error, "cause_name", ""), "failed")
        # at a step below all those at which trials are compared
        ray.tune.report({"step": 0, score: 0.0, ERROR: str(error), ERROR_KIND: kind})


def run_trials(
    plan: SweepPlan,
    options: SweepOptions,
    trials: Sequence[Trial],
    *,
    room: int,
    reader: SharedReader,
    fence: Fence,
    outcomes: Callable[[], Sequence[Outcome]],
    on_change: Callable[[], None] = lambda: None,
) -> tuple[list[str], list[str]]:
    """Runs the remaining trials of a sweep; each is a run in the sweep's folder.

    Args:
        plan: The sweep.
        options: The number of trials, and when they are stopped.
        trials: All trials, of which the first ``options.trials`` are to be completed.
        room: The number of concurrent trials, at most as many as the cluster can ever hold: drivers need almost no
            resources, so more of them would start and wait for each other's workers forever.
        reader: The reader of the recipe.
        fence: The fence of the sweep's lease.
        outcomes: Reads the outcomes of all trials so far, from which Optuna chooses points.
        on_change: Called after every validation and every end of a trial.

    Raises:
        RunStopped: The sweep was asked to stop.
        RunTakenOver: Another driver has taken over the sweep.

    Returns:
        The errors of trials that another attempt would meet again, and the errors for which others were given up.
    """
    left = [one for one in trials[: options.trials] if not one.is_over(plan.recipe)]
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # would print them with stack traces
    # the checkpoint of a node that is about to be preempted is reported without a validation
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupted sweep must not end like a completed one
    watch = Watch(plan, left, fence, CONSOLE, on_change)
    search = Proposals(left, lambda one: choose_point(plan, one.number, outcomes()))
    tuner = _tuner(plan, options, trials, left, room, reader, watch, search, fence)
    with (
        release_reservations(),
        report_waiting("tune", plan.recipe.scale, CONSOLE),
        ends_when_asked_to(fence, plan.runs_uri),
    ):
        tuner.fit()
    return watch.errors, watch.lost


def _tuner(
    plan: SweepPlan,
    options: SweepOptions,
    trials: Sequence[Trial],
    left: Sequence[Trial],
    room: int,
    reader: SharedReader,
    watch: Watch,
    search: Proposals,
    fence: Fence,
) -> Tuner:
    recipe, objective = plan.recipe, plan.objective
    path, filesystem = ray_storage(plan.run.storage_uri)
    trainable = with_parameters(
        trial, base=recipe, runs_uri=plan.runs_uri, reader=reader, sweep=fence, score=objective.reported
    )
    return Tuner(
        with_resources(trainable, driver_resources()),
        tune_config=TuneConfig(
            metric=objective.reported,
            mode=objective.goal,
            num_samples=len(left),
            max_concurrent_trials=room,
            search_alg=search,
            scheduler=_scheduler(plan, trials, left, options.early_stopping),
            trial_dirname_creator=_folder_name,
        ),
        run_config=RunConfig(
            name=plan.run.name,
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[watch],
            failure_config=FailureConfig(max_failures=recipe.scale.max_failures),
        ),
    )


def _folder_name(trial: Any) -> str:
    # Tune's own name has the settings, which may be long or contain slashes
    return f"tune_{trial.config['trial']['name']}_{trial.trial_id}"


def _scheduler(
    plan: SweepPlan, trials: Sequence[Trial], left: Sequence[Trial], early_stopping: EarlyStopping | None
) -> FIFOScheduler:
    if early_stopping is None:
        return FIFOScheduler()
    scores = {one.run.name: plan.objective.scores(one.run.metrics()) for one in trials}
    continuing = {one.run.name for one in left}
    return ResumedAsha(
        score=plan.objective.reported,
        over={name: found for name, found in scores.items() if name not in continuing},
        begun={name: found for name, found in scores.items() if name in continuing},
        never_stopped={trials[0].run.name},
        max_t=plan.recipe.train.steps + 1,  # a trial that reaches its last step ends by itself and releases everything
        grace_period=early_stopping.grace_steps,
        reduction_factor=early_stopping.reduction_factor,
    )
