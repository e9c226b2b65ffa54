"""What all sections of a recipe are made of: the frozen base, and numbers with their ranges."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def family(default: str) -> Discriminator:
    """A section that does not name its family is of the default one."""
    return Discriminator(
        lambda value: value.get("family", default) if isinstance(value, dict) else getattr(value, "family", None)
    )
