"""What a sweep turns."""

from typing import Any

from ray.tune import loguniform

from mulan.config.recipe import Recipe


def temperature_and_learning_rate(recipe: Recipe) -> dict[str, Any]:
    """Initial temperature over the range that contrastive models are trained at; learning rate a decade around the
    recipe's own. Keys are recipe fields, as in ``--set``."""
    return {
        "loss.temperature_init": loguniform(0.02, 0.5),
        "optim.lr": loguniform(recipe.optim.lr / 10, min(recipe.optim.lr * 10, 0.1)),
    }


def settings(values: dict[str, Any]) -> list[str]:
    """The ``--set`` values of a point of the space."""
    return [f"{field}={value:.6g}" for field, value in sorted(values.items())]
