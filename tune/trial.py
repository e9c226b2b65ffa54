"""One trial: a driver function that starts the same training as ``jobs.train``."""

from typing import Any

from ray.tune import get_context
from ray.tune.integration.ray_train import TuneReportCallback

from mulan.config.recipe import Recipe, load_recipe
from mulan.training.fit import fit
from mulan.training.headline import headline
from mulan.training.run import Run
from tune.space import settings


def metric(recipe: Recipe) -> str:
    """What trials are compared by: a score of the validation, since losses at different temperatures or weights cannot
    be compared."""
    return f"validation_{headline(recipe)[0]}"


def trial(values: dict[str, Any], *, base: Recipe, runs_uri: str) -> None:
    """Trains the recipe with ``values`` laid over it, in a run named after the trial, so that a retry resumes it."""
    recipe = load_recipe("sweep", {"sweep": base}, settings(values))
    run = Run(runs_uri, str(get_context().get_trial_id()))
    fit(recipe, run, callbacks=[TuneReportCallback()])
