"""The base class and the field types of a recipe's sections, and the environment variables of training workers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

from mulan.config.validation import with_changes

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base class of the sections of a recipe: instances are frozen; unknown keys, infinity and NaN are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def replace(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Self:
        """Returns a copy with some values changed, validated as a whole.

        Args:
            changes: New values by dotted path of the field (``"train.steps"``). The value of a whole section is a
                section, or a mapping of the values that differ from its defaults. A new ``family`` resets a section to
                the defaults of that family. The order does not matter: whole sections are applied before their fields,
                and families before other fields.
            fields: New values by name of a field of this section.

        Raises:
            RecipeError: A field is unknown, a value is invalid, or the values do not fit together; lists all errors.

        Example:
            >>> from mulan.config.recipe import Recipe
            >>> recipe = Recipe().replace({"train.steps": 3, "audio_tower.family": "ast"})
            >>> recipe.train.steps, recipe.audio_tower.hidden_size
            (3, 768)
        """
        changed = {**(changes or {}), **fields}
        return with_changes(type(self), self.model_dump(), changed.items(), name=f"with other {', '.join(changed)}")


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the values, which must not repeat.

    Raises:
        ValueError: A value occurs more than once.
    """
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"names {' and '.join(repeated)} more than once")
    return values


def family(default: str) -> Discriminator:
    """Returns a discriminator on the field ``family``, whose value is ``default`` if the section does not set it."""
    return Discriminator(
        lambda value: value.get("family", default) if isinstance(value, dict) else getattr(value, "family", None)
    )


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SET_FOR_WORKERS = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "DS_ACCELERATOR",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "RANK",
        "TOKENIZERS_PARALLELISM",
        "WORLD_SIZE",
    }
)


def _as_text(value: Any) -> Any:
    """Converts numbers and booleans to text, since ``--set scale.env.NCCL_IB_DISABLE=1`` is parsed as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _check_variables(variables: dict[str, str]) -> dict[str, str]:
    faults = [f"{name!r} is not a valid variable name" for name in variables if not _NAME.fullmatch(name)]
    faults += [
        f"the variable {name} is set by Ray, Ray Train or mulan and cannot be overridden"
        for name in variables
        if name in _SET_FOR_WORKERS or name.startswith("RAY_")
    ]
    faults += [f"the value of {name} contains a null byte" for name, value in variables.items() if "\0" in value]
    if faults:
        raise ValueError("; ".join(faults))
    return variables


Variables = Annotated[dict[str, Annotated[str, BeforeValidator(_as_text)]], AfterValidator(_check_variables)]
"""Environment variables by name; names that the launcher sets itself are rejected."""
