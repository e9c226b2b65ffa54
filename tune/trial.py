"""One trial: a driver function that starts the same training as ``jobs.train``."""

from typing import Any

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


def trial(config: dict[str, Any], *, base: Recipe, runs_uri: str) -> None:
    """Trains the recipe with the values of ``config["trial"]`` laid over it, in the run of its name, from the newest
    checkpoint if that has one."""
    recipe = load_recipe("sweep", {"sweep": base}, settings(config["trial"]["values"]))
    fit(recipe, Run(runs_uri, config["trial"]["name"]), callbacks=[TuneReportCallback()])
