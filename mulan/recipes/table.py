"""The tables of ``mulan/recipes/README.md``: for each value of a recipe, what its paper states and where it is from.

Written by ``python -m mulan.recipes.table > mulan/recipes/README.md``.
"""

from collections.abc import Iterator
from functools import reduce
from typing import Any

from mulan.config.base import Section
from mulan.config.recipe import Recipe
from mulan.recipes.origins.mulan import MULAN
from mulan.recipes.origins.mulap import MULAP
from mulan.recipes.origins.origin import Origin, RecipeOrigins
from mulan.recipes.origins.semisupcon import SEMISUPCON
from mulan.recipes.registry import named_recipes

SECTIONS = (
    ("MuLan", "Huang et al. 2022, [arXiv:2208.12415](https://arxiv.org/abs/2208.12415)", MULAN),
    ("MuLaP", "Manco et al. 2022, [arXiv:2112.04214](https://arxiv.org/abs/2112.04214)", (MULAP,)),
    ("SemiSupCon", "Guinot et al. 2024, [arXiv:2407.13840](https://arxiv.org/abs/2407.13840)", SEMISUPCON),
)
"""Title, paper and recipes of each part."""

HEAD = """# Where the values of the recipes are from

For each value: what the paper of the recipe states, where the value is from, and how it departs from the paper and the
published code of its authors. An empty cell means that the paper states nothing, or that nothing departs. Of whole
sections, 0 and empty values are left out. Fields that are not listed have their default; [config/](../config) describes
them.

This file is written by `python -m mulan.recipes.table > mulan/recipes/README.md`.
"""


def render() -> str:
    """Returns the content of ``mulan/recipes/README.md``."""
    parts = [HEAD]
    for title, paper, recipes in SECTIONS:
        parts.append(f"## {title}\n\n{paper}.\n")
        parts += ["\n".join(_table(origins, named_recipes()[origins.recipe])) for origins in recipes]
    return "\n".join(parts)


def _table(origins: RecipeOrigins, recipe: Recipe) -> Iterator[str]:
    yield f"### {origins.recipe}\n"
    if origins.note:
        yield f"{origins.note}\n"
    if origins.base:
        yield f"As `{origins.base}`, except:\n"
    yield "| field | value | the paper states | the value is from | departs |"
    yield "|---|---|---|---|---|"
    for origin in origins.origins:
        yield _row(origin, recipe)
    yield ""


def _row(origin: Origin, recipe: Recipe) -> str:
    names = "<br>".join(f"`{field}`" for field in origin.fields)
    values = "<br>".join(_formatted(value_of(recipe, field)) for field in origin.fields)
    return f"| {names} | {values} | {origin.stated} | {origin.origin} | {origin.departure} |"


def value_of(recipe: Recipe, field: str) -> Any:
    """Returns the value of a field, or of a property of a section, by its dotted path.

    Raises:
        AttributeError: The recipe has no such field.
    """
    return reduce(getattr, field.split("."), recipe)


def _formatted(value: Any) -> str:
    if isinstance(value, Section):
        return ", ".join(f"{name} {_formatted(number)}" for name, number in value if number)
    if isinstance(value, tuple):
        return " ".join(map(_formatted, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,.12g}"
    return value or "empty"


if __name__ == "__main__":
    print(render(), end="")
