"""What a sweep turns."""

from typing import Any

from ray.tune import loguniform

from mulan.config.recipe import Recipe


def search_space(recipe: Recipe) -> dict[str, Any]:
    """Learning rate, temperatures and loss weights of a recipe. Keys are recipe fields, as in ``--set``.

    The learning rate varies over a decade around the recipe's own; temperatures over the range that contrastive models
    are trained at; and, where there are several terms, the weight of each but the first over a decade around its own:
    only their ratios count.
    """
    weights, lr = recipe.loss.weights, recipe.optim.lr
    space = {"optim.lr": loguniform(lr / 10, min(lr * 10, 0.1))}
    if weights.contrastive:
        space["loss.temperature_init"] = loguniform(0.02, 0.5)
    if weights.semisupcon:
        space["semisupcon.temperature"] = loguniform(0.02, 0.5)
    terms = {name: weight for name, weight in weights if weight > 0}
    for name, weight in list(terms.items())[1:]:
        space[f"loss.weights.{name}"] = loguniform(weight / 10, weight * 10)
    return space


def settings(values: dict[str, Any]) -> list[str]:
    """The ``--set`` values of a point of the space."""
    return [f"{field}={value:.6g}" for field, value in sorted(values.items())]
