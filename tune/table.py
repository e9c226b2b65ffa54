"""The table of a sweep's trials in the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tune.domains import Value, as_text
from tune.outcome import Outcome, ranked
from tune.plan import SweepPlan
from tune.points import own_values

_STYLES = {"completed": "green", "stopped": "dim", "unfinished": "bold"}


def trials_table(plan: SweepPlan, outcomes: Sequence[Outcome]) -> Table:
    """Returns the table of trials that have begun: those with a figure, best first, then those without.

    Args:
        plan: The sweep.
        outcomes: The outcomes of its trials.
    """
    scored = ranked(outcomes, plan.objective)
    numbers = {one.trial.number for one in scored}
    others = [one for one in outcomes if one.trial.number not in numbers and one.state != "waiting"]
    table = Table(title=f"{len(scored)} trials, best first", title_justify="left")
    table.add_column("trial")
    own, fields = own_values(plan), list(plan.space.domains)
    for column in (*fields, "step", *(objective.label for objective in plan.objectives)):
        table.add_column(Text(column), justify="right")
    table.add_column("state")
    for one in [*scored, *others]:
        point = own | dict(one.trial.point or {})
        figures = ["" if (figure := one.last(objective)) is None else f"{figure:.3f}" for objective in plan.objectives]
        values = [_short(point[field]) for field in fields]
        state = Text(one.state, style=_STYLES.get(one.state, "red"))
        name = one.trial.run.name + (" (the recipe's own)" if one.trial.number == 0 else "")
        table.add_row(name, *map(Text, values), str(one.steps), *figures, state)
    return table


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else as_text(value)
