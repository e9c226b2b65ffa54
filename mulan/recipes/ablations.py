"""The recipes of MuLan's text ablations: a model with all texts, and the same with fewer or unfiltered ones."""

from dataclasses import dataclass

from mulan.config.errors import RecipeError
from mulan.recipes.registry import ABLATED, MINIATURE

_TEXTS = {
    "full": "ASET + SF + LF + PL",
    "aset_sf_lf": "ASET + SF + LF",
    "aset_sf": "ASET + SF",
    "aset": "ASET",
    "unfiltered": "SF/LF unfiltered",
}
"""Texts of each variant, named and ordered as in tables 4b, 5 and 6 of the paper."""
_PAPER_NAMES = {"m_resnet50": "M-Resnet-50", "m_ast": "M-AST"}

FULL = "full"
"""Name of the variant with all texts, whose recipe the others differ from."""
VARIANTS = tuple(_TEXTS)
"""Names of the variants, in the order of the paper."""


@dataclass(frozen=True)
class TextAblation:
    """A variant of a recipe that trains with some of the sources of texts."""

    name: str
    """One of :data:`VARIANTS`."""
    texts: str
    """The sources, as the paper names them."""
    recipe: str
    """Name of the recipe."""
    published: str
    """Name of the model in tables of published figures; the paper may have none for it."""


def text_ablations(recipe: str) -> tuple[TextAblation, ...]:
    """Returns the variants of a recipe, in the order of the paper.

    Args:
        recipe: Name of a recipe with text ablations, or of its miniature.

    Raises:
        RecipeError: The recipe has no text ablations.

    Example:
        >>> [variant.recipe for variant in text_ablations("m_ast_miniature")][:2]
        ['m_ast_miniature', 'm_ast_aset_sf_lf_miniature']
    """
    base, suffix = recipe.removesuffix(MINIATURE), MINIATURE if recipe.endswith(MINIATURE) else ""
    if base not in ABLATED:
        variant_of = next(
            (name for name in ABLATED if base.startswith(f"{name}_") and base[len(name) + 1 :] in _TEXTS), ""
        )
        hint = f"it is a variant of {variant_of}{suffix}; " if variant_of else ""
        known = f"{', '.join(ABLATED)}, also with the suffix {MINIATURE}"
        raise RecipeError(recipe, [f"has no text ablations; {hint}those that have are {known}"])
    model = f"MuLan {_PAPER_NAMES[base]}"
    return tuple(
        TextAblation(
            name,
            texts,
            f"{base}{suffix}" if name == FULL else f"{base}_{name}{suffix}",
            model if name == FULL else f"{model}, {texts}",
        )
        for name, texts in _TEXTS.items()
    )
