"""The table of what came of a sweep's trials."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mulan.config.recipe import Recipe
from mulan.training.headline import headline
from tune.errors import SweepError
from tune.planned import Trial
from tune.space import settings


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
