"""The trials of a sweep, run by Ray Tune."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import ray.tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner, grid_search, with_parameters, with_resources
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from jobs.arguments import CONSOLE
from mulan.config.errors import USER_ERROR, MulanError
from mulan.config.recipe import Recipe
from mulan.launch.cluster import SharedReader
from mulan.launch.fit import fit, ray_storage
from mulan.launch.heartbeat import report_waiting
from mulan.launch.policies import describe_error
from mulan.recipes.registry import with_settings
from mulan.runs.lease import Fence
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped, stop_request_to
from mulan.storage.errors import StorageError
from tune.planned import Trial, runs_uri, settings
from tune.room import driver_resources, release_reservations
from tune.stopping import ends_when_asked_to, wait_for_the_end

Scores = list[tuple[int, float]]
"""The (step, score) pairs of a trial's validations."""


class ResumedAsha(ASHAScheduler):  # type: ignore[misc]  # Ray's has no types
    """ASHA that compares trials with all others that reached the same step, in this call or an earlier one."""

    def __init__(self, *, score: str, over: Mapping[str, Scores], begun: Mapping[str, Scores], **named: Any) -> None:
        """
        Args:
            score: The name of the score that trials report together with their ``step``; higher is better.
            over: The scores of completed trials from earlier calls, by the trial's name.
            begun: The scores of trials that continue, by name (``trial.config["trial"]["name"]``).
        """
        super().__init__(time_attr="step", **named)
        self._score, self._over, self._begun = score, dict(over), dict(begun)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        while self._over:
            name, scores = self._over.popitem()
            earlier = SimpleNamespace(trial_id=name)
            super().on_trial_add(tune_controller, earlier)
            self._replay(tune_controller, earlier, scores)
            self.on_trial_remove(tune_controller, earlier)
        super().on_trial_add(tune_controller, trial)
        self._replay(tune_controller, trial, self._begun.pop(trial.config["trial"]["name"], []))

    def _replay(self, tune_controller: Any, trial: Any, scores: Scores) -> None:
        for step, score in scores:
            self.on_trial_result(tune_controller, trial, {"step": step, self._score: score})


ERROR = "permanent_error"
"""The key under which a trial reports the message of an error that another attempt would meet again."""


def metric(recipe: Recipe) -> str:
    """Returns the metric that trials are compared by: a validation score, since losses at different temperatures or
    weights are not comparable."""
    return f"validation_{recipe.selection_metric.name}"


def trial(config: dict[str, Any], *, base: Recipe, runs_uri: str, reader: SharedReader, sweep: Fence) -> None:
    """Trains the recipe with the values of ``config["trial"]``, in the trial's own run, from its newest checkpoint if
    there is one.

    Args:
        reader: The reader of all trials; they read the same, since no value of the space changes what is read.
        sweep: The fence of the sweep's lease, whose request to stop is that of the trial.

    Raises:
        MulanError: Another attempt, which Tune makes, may succeed. Permanent errors are reported instead.
    """
    recipe = with_settings(base, settings(config["trial"]["values"]), name="sweep")
    if stop_request_to([sweep]) is not None:
        wait_for_the_end()
    run = Run(runs_uri, config["trial"]["name"])
    try:
        fit(recipe, run, reader=reader, callbacks=[TuneReportCallback()], sweep=sweep)
    except RunStopped:
        wait_for_the_end()
    except MulanError as error:
        if error.exit_code != USER_ERROR:
            raise
        # at a step below all those at which trials are compared
        ray.tune.report({"step": 0, metric(recipe): 0.0, ERROR: str(error)})


class Watch(Callback):
    """Prints a line for every validation of every trial, records which trials are completed, and counts how often in a
    row the process of a trial was lost."""

    def __init__(self, recipe: Recipe, trials: Sequence[Trial], fence: Fence) -> None:
        """``fence``: the fence of the sweep's lease, which another driver may take over."""
        self._score, self._heading, self._losses = (
            metric(recipe),
            recipe.selection_metric.label,
            recipe.scale.max_failures,
        )
        self._train_steps = recipe.train.steps
        self._fence = fence
        self._trials = {one.run.name: one for one in trials}
        self._steps: dict[str, int] = {}
        self.errors: list[str] = []
        """The errors of trials that another attempt would meet again."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name, step = trial.config["trial"]["name"], result.get("step", 0)
        if ERROR in result or self._score not in result:
            return
        values = "  ".join(settings(trial.config["trial"]["values"]))
        print(f"tune  {name}  step {step}  {self._heading} {result[self._score]:.3f}  {values}", flush=True)
        # Tune counts all failures of a trial; here only those since its last progress count
        if step > self._steps.get(name, 0):
            self._steps[name] = step
            trial.max_failures = trial.num_failures + self._losses

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(
            f"tune  {trial.config['trial']['name']}  failed, or its process was lost; it continues in another one",
            flush=True,
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, last = trial.config["trial"]["name"], trial.last_result or {}
        self._fence.check()
        if ERROR in last:
            print(f"tune  {name}  failed: {last[ERROR]}", flush=True)
            self.errors.append(last[ERROR])
            return
        with suppress(StorageError):  # the next call then runs the trial again
            self._trials[name].end(last.get("step", 0), train_steps=self._train_steps)


def run_trials(
    recipe: Recipe,
    run: Run,
    trials: Sequence[Trial],
    *,
    num_trials: int,
    concurrent: int,
    reader: SharedReader,
    fence: Fence,
) -> tuple[list[str], list[str]]:
    """Runs the remaining trials of a sweep; each is a run in the sweep's folder.

    Args:
        run: The folder of the sweep.
        trials: All trials, of which the first ``num_trials`` are to be completed.
        concurrent: The number of concurrent trials, at most as many as the cluster can ever hold: drivers need almost
            no resources, so more of them would start and wait for each other's workers forever.
        reader: The reader of all trials.
        fence: The fence of the sweep's lease.

    Raises:
        RunStopped: The sweep was asked to stop.
        RunTakenOver: Another driver has taken over the sweep.

    Returns:
        The errors of trials that another attempt would meet again, and the errors for which others were given up.
    """
    left = [one for one in trials[:num_trials] if not one.is_over(recipe)]
    over = [one for one in trials if one not in left]
    path, filesystem = ray_storage(run.storage_uri)
    trainable = with_resources(
        with_parameters(trial, base=recipe, runs_uri=runs_uri(run), reader=reader, sweep=fence), driver_resources()
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # would print them with stack traces
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupted sweep must not end like a completed one
    scheduler = ResumedAsha(
        score=metric(recipe),
        over={one.run.name: one.scores(recipe) for one in over},
        begun={one.run.name: one.scores(recipe) for one in left},
        max_t=recipe.train.steps + 1,  # a trial that reaches its last step ends by itself and releases everything
        grace_period=recipe.train.checkpoint_every_steps,
        reduction_factor=3,
    )
    watch = Watch(recipe, left, fence)
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
            failure_config=FailureConfig(max_failures=recipe.scale.max_failures),
        ),
    )
    with (
        release_reservations(),
        report_waiting("tune", recipe.scale, CONSOLE),
        ends_when_asked_to(fence, runs_uri(run)),
    ):
        lost = [describe_error(getattr(error, "cause", None) or error) for error in tuner.fit().errors]
    return watch.errors, lost
