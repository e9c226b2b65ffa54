"""The preview of a sweep (``--dry-run``), and the table of its trials."""

import statistics
from collections.abc import Iterator, Sequence

from ray.tune.search.sample import Float, LogUniform
from rich.console import Console
from rich.table import Table

from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity
from tune.errors import SweepError
from tune.planned import Trial, search_space, settings
from tune.room import trials_at_once


def print_trials(trials: Sequence[Trial], failures: Sequence[str], recipe: Recipe, console: Console) -> None:
    """Prints the trials, best first, and the ``--set`` options of the best one.

    Raises:
        SweepError: No trial reached a validation.
    """
    scored = [(one, scores[-1]) for one in trials if (scores := one.scores(recipe))]
    if not scored:
        reasons = "; ".join(sorted(set(failures))) or "no error was reported"
        raise SweepError(f"no trial reached a validation: {reasons}")
    scored.sort(key=lambda one: -one[1][1])
    fields = sorted(scored[0][0].values)
    table = Table(title=f"{len(scored)} trials, best first", title_justify="left")
    table.add_column("trial")
    for column in (*fields, "step", recipe.selection_metric.label):
        table.add_column(column, justify="right")
    for one, (step, score) in scored:
        table.add_row(one.run.name, *(f"{one.values[field]:.4g}" for field in fields), str(step), f"{score:.3f}")
    console.print(table)
    best = " ".join(f"--set {setting}" for setting in settings(scored[0][0].values))
    console.print(f"best: {best}", soft_wrap=True)
    if failures:
        console.print(f"{len(failures)} trials failed; the same command resumes them: {failures[0]}", soft_wrap=True)


FIRST_POINTS = 5


def preview(
    recipe: Recipe, trials: Sequence[Trial], *, num_trials: int, concurrent: int | None, cluster: Capacity
) -> Iterator[str]:
    """Yields lines about the search space, the next points, the number of concurrent trials, and the maximum cost.

    Args:
        trials: All trials of the sweep, of which the first ``num_trials`` would be completed.
        concurrent: The requested number of concurrent trials; None for as many as the cluster can hold.

    Raises:
        DamagedFile: A file of a trial is damaged.
    """
    yield "search space"
    for field, domain in sorted(search_space(recipe).items()):
        yield f"  {field}  {_described(domain)}"
    left = [one for one in trials[:num_trials] if not one.is_over(recipe)]
    yield f"{num_trials} trials, {num_trials - len(left)} of them completed; the next"
    for one in left[:FIRST_POINTS]:
        yield f"  {one.run.name}  " + " ".join(f"--set {setting}" for setting in settings(one.values))
    at_once = concurrent or trials_at_once(recipe.scale, cluster)
    yield describe_concurrency(recipe.scale, at_once, cluster)
    yield from _cost(recipe, trials, left, at_once)


def _described(domain: Float) -> str:
    scale = "log-uniform" if isinstance(domain.get_sampler(), LogUniform) else "uniform"
    return f"{domain.lower:.6g} to {domain.upper:.6g}, {scale}"


def describe_concurrency(scale: ScaleConfig, at_once: int, cluster: Capacity) -> str:
    """Describes the number of concurrent trials, the resources of each, and the cluster's capacity."""
    worker = f"{'1 GPU and ' if scale.use_gpu else ''}{scale.cpus_per_worker} CPU"
    needs = f"at most {scale.max_workers} x ({worker}) for workers and {scale.data_cpus} CPU for readers"
    return f"{at_once} at once, each with {needs}; {cluster.describe()}"


def _cost(recipe: Recipe, trials: Sequence[Trial], left: Sequence[Trial], at_once: int) -> Iterator[str]:
    """Yields lines about the maximum cost; trials that ASHA stops cost less."""
    scale, steps = recipe.scale, sum(_steps_left(recipe, one) for one in left)
    device = "GPU" if scale.use_gpu else "CPU"
    yield f"at most {steps} steps in total, {steps * scale.max_workers} worker-steps"
    seconds = [line["step_s"] for one in trials for line in one.run.metrics()]
    if not seconds:
        yield f"{device}-hours are not known before a trial of this sweep has run"
        return
    step_s = statistics.median(seconds)
    devices = scale.max_workers if scale.use_gpu else scale.max_workers * scale.cpus_per_worker + scale.data_cpus
    hours = steps * step_s / 3600
    rounds = max(1, min(at_once, len(left)))
    yield f"at most {hours * devices:.2g} {device}-hours, and {hours / rounds:.2g} hours if as many run all the time"
    yield f"  at {step_s:.3g} s per step, as in this sweep's trials so far; starts and validations are extra"


def _steps_left(recipe: Recipe, trial: Trial) -> int:
    return recipe.train.steps - trial.steps_saved()
