"""One trial: a driver function that starts the same training as ``jobs.train``."""

from typing import Any

import ray.tune
from ray import ObjectRef
from ray.tune.integration.ray_train import TuneReportCallback

from mulan.config.errors import USERS_FAULT, MulanError
from mulan.config.recipe import Recipe, load_recipe
from mulan.data.examples import MicroBatchReader
from mulan.training.fit import fit
from mulan.training.headline import headline
from mulan.training.run import Run
from tune.space import settings

FAULT = "fault"
"""What is reported of a trial that another attempt would not mend: its text."""


def metric(recipe: Recipe) -> str:
    """What trials are compared by: a score of the validation, since losses at different temperatures or weights cannot
    be compared."""
    return f"validation_{headline(recipe)[0]}"


def trial(config: dict[str, Any], *, base: Recipe, runs_uri: str, readers: list["ObjectRef[MicroBatchReader]"]) -> None:
    """Trains the recipe with the values of ``config["trial"]`` laid over it, in the run of its name, from the newest
    checkpoint if that has one.

    Args:
        readers: one, of all trials: they read the same, since no value of the space changes what is read. It stands in
            a list so that Tune hands it on as a reference.

    Raises:
        MulanError: another attempt may mend it, and Tune makes one. What it would meet again is reported instead.
    """
    recipe = load_recipe("sweep", {"sweep": base}, settings(config["trial"]["values"]))
    try:
        fit(recipe, Run(runs_uri, config["trial"]["name"]), reader=readers[0], callbacks=[TuneReportCallback()])
    except MulanError as error:
        if error.exit_code != USERS_FAULT:
            raise
        # below every step at which trials are compared
        ray.tune.report({"step": 0, metric(recipe): 0.0, FAULT: str(error)})
