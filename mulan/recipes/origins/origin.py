"""What is said of a value of a recipe: what the paper states, where the value is from, and how it departs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """The origin of the values of some fields of a recipe."""

    fields: tuple[str, ...]
    """Dotted paths of the fields."""
    stated: str
    """What the paper of the recipe states."""
    origin: str
    """Where the values are from."""
    departure: str = ""
    """How they depart from the paper and its authors' code; empty if they do not."""


@dataclass(frozen=True)
class RecipeOrigins:
    """The origins of what a recipe sets, and of the defaults that its paper or code determines."""

    recipe: str
    """Name of the recipe."""
    origins: tuple[Origin, ...]
    base: str | None = None
    """Name of the recipe whose origins apply to all other fields."""
    note: str = ""
    """What applies to the whole recipe, as Markdown."""


BATCH = ("batch.micro_batches", "batch.pairs_per_micro_batch")
"""Fields of the size of the global batch."""
OURS = "our choice"
"""Origin of values that neither a paper nor its code gives."""
UNBIASED = "without biases of convolutions, which batch norm cancels"
"""Departure of towers from the networks of the authors' code."""
