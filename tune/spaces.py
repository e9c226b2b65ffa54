"""The search spaces that are known by name: functions of the recipe, around whose values they lie."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mulan.config.recipe import Recipe
from tune.domains import Domain, NumberInterval

Domains = Mapping[str, Domain]
"""The domain of each varied field, by its path as in ``--set``."""

_TEMPERATURES = NumberInterval("loguniform", 0.02, 0.5)
"""The range that contrastive models are trained at."""
_MAX_LR = 0.1


def default(recipe: Recipe) -> Domains:
    """Learning rate, temperatures and, if there are several loss terms, their weights.

    The learning rate varies by a factor of 10 around the recipe's own in both directions; and so does the weight of
    each term but the first, since only their ratios matter.
    """
    weights = recipe.loss.weights
    space: dict[str, Domain] = {"optim.lr": _tenfold(recipe.optim.lr, highest=_MAX_LR)}
    if weights.embeds_text:
        space["loss.temperature_init"] = _TEMPERATURES
    if weights.semisupcon:
        space["semisupcon.temperature"] = _TEMPERATURES
    return {**space, **loss_weights(recipe)}


def temperature_lr_text(recipe: Recipe) -> Domains:
    """Initial temperature, learning rate, and the learning rate of pretrained parameters as a multiple of it."""
    return {
        "loss.temperature_init": _TEMPERATURES,
        "optim.lr": _tenfold(recipe.optim.lr, highest=_MAX_LR),
        "optim.pretrained_lr_scale": NumberInterval("loguniform", 0.01, 2.0),
    }


def loss_weights(recipe: Recipe) -> Domains:
    """The weight of each loss term but the first, by a factor of 10 around its own in both directions."""
    terms = [(name, weight) for name, weight in recipe.loss.weights if weight > 0]
    return {f"loss.weights.{name}": _tenfold(weight) for name, weight in terms[1:]}


def _tenfold(value: float, *, highest: float | None = None) -> NumberInterval:
    low, high = value / 10, value * 10 if highest is None else max(value, min(value * 10, highest))
    return NumberInterval("loguniform", float(f"{low:.6g}"), float(f"{high:.6g}"))


NAMED_SPACES: Mapping[str, Callable[[Recipe], Domains]] = MappingProxyType(
    {space.__name__: space for space in (default, temperature_lr_text, loss_weights)}
)
