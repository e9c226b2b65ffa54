"""A short run as ``jobs.train`` runs it: ``python -m mulan.benchmarks.step_on_ray RECIPE_TOML STORAGE STEPS``."""

import sys

from mulan.config.recipe import recipe_from_toml
from mulan.launch.cluster import connect
from mulan.launch.fit import fit
from mulan.runs.run import Run


def main() -> None:
    toml, storage, steps = sys.argv[1:]
    recipe = recipe_from_toml(toml, name="benchmark")
    train = recipe.train.model_copy(
        update={"steps": int(steps), "checkpoint_every_steps": int(steps), "validation_micro_batches": 0}
    )
    connect(recipe.scale)
    fit(recipe.model_copy(update={"train": train}), Run.at(storage, "bench"))


if __name__ == "__main__":
    main()
