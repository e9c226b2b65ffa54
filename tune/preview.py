"""The preview of a sweep (``--dry-run``): its space, its next points, and what it costs at most."""

import statistics
from collections.abc import Iterator, Sequence

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, format_resources, worker_resources
from tune.early_stopping import EarlyStopping
from tune.plan import SweepOptions, SweepPlan
from tune.room import trials_at_once
from tune.trial import Trial

FIRST_POINTS = 5


def preview(plan: SweepPlan, options: SweepOptions, trials: Sequence[Trial], cluster: Capacity) -> Iterator[str]:
    """Yields lines about the search space, the next points, the number of concurrent trials, and the maximum cost.

    Args:
        plan: The sweep.
        options: The number of trials, and how they would be run.
        trials: All trials of the sweep, of which the first ``options.trials`` would be completed.
        cluster: The cluster on which the trials would run.

    Raises:
        DamagedFile: A file of a trial is damaged.
    """
    yield f"search space {plan.space.name}, by {_METHODS[plan.method]}"
    for field, domain in plan.space.domains.items():
        yield f"  {field}  {domain}"
    yield from _comparison(plan, options.early_stopping)
    left = [one for one in trials[: options.trials] if not one.is_over(plan.recipe)]
    yield f"{options.trials} trials, {options.trials - len(left)} of them completed; the next"
    for one in left[:FIRST_POINTS]:
        yield f"  {one.run.name}  {_described_point(one)}"
    at_once = options.concurrent or trials_at_once(plan.recipe.scale, cluster)
    yield describe_concurrency(plan.recipe.scale, at_once, cluster)
    yield from _cost(plan, trials, left, at_once)


_METHODS = {
    "random": "random search",
    "grid": "all points of the grid",
    "optuna": "Optuna's tree-structured Parzen estimator",
}


def _comparison(plan: SweepPlan, early_stopping: EarlyStopping | None) -> Iterator[str]:
    better = {"max": "higher", "min": "lower"}
    goals = " and ".join(f"{one.name} ({better[one.goal]} is better)" for one in plan.objectives)
    if early_stopping is None:
        yield f"compared by {goals}; no trial is stopped early"
        return
    yield (
        f"compared by {goals}; from step {early_stopping.grace_steps} on, ASHA stops trials "
        f"that are not in the best 1/{early_stopping.reduction_factor:g}"
    )


def _described_point(trial: Trial) -> str:
    if trial.point is None:
        return "chosen when it begins"
    return " ".join(f"--set {setting}" for setting in trial.settings) or "the recipe's own values"


def describe_concurrency(scale: ScaleConfig, at_once: int, cluster: Capacity) -> str:
    """Describes the number of concurrent trials, the resources of each, and the cluster's capacity."""
    worker = format_resources(worker_resources(scale)).replace(", ", " and ")
    needs = f"at most {scale.max_workers} x ({worker}) for workers and {scale.data_cpus} CPU for readers"
    return f"{at_once} at once, each with {needs}; {cluster.describe()}"


def _cost(plan: SweepPlan, trials: Sequence[Trial], left: Sequence[Trial], at_once: int) -> Iterator[str]:
    """Yields lines about the maximum cost; trials that ASHA stops cost less."""
    scale, steps = plan.recipe.scale, sum(plan.recipe.train.steps - one.steps_saved() for one in left)
    device = "GPU" if scale.use_gpu else "CPU"
    yield f"at most {steps} steps in total, {steps * scale.max_workers} worker-steps"
    seconds = [line["step_s"] for one in trials for line in one.run.metrics() if "step_s" in line]
    if not seconds:
        yield f"{device}-hours are not known before a trial of this sweep has run"
        return
    step_s = statistics.median(seconds)
    if scale.use_gpu:
        devices = scale.max_workers * scale.gpus_per_worker
    else:
        devices = scale.max_workers * scale.cpus_per_worker + scale.data_cpus
    hours = steps * step_s / 3600
    rounds = max(1, min(at_once, len(left)))
    yield f"at most {hours * devices:.2g} {device}-hours, and {hours / rounds:.2g} hours if as many run all the time"
    yield f"  at {step_s:.3g} s per step, as in this sweep's trials so far; starts and validations are extra"
