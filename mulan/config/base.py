"""Environment variables that a recipe gives its training workers."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def family(default: str) -> Discriminator:
    """A section that does not name its family is of the default one."""
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
    """A number or a truth value as it is written: ``--set scale.env.NCCL_IB_DISABLE=1`` is read as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _given_by_users(variables: dict[str, str]) -> dict[str, str]:
    faults = [f"{name!r} cannot be a variable's name" for name in variables if not _NAME.fullmatch(name)]
    faults += [
        f"the name {name} belongs to Ray, Ray Train or mulan"
        for name in variables
        if name in _SET_FOR_WORKERS or name.startswith("RAY_")
    ]
    faults += [f"the value of {name} has a zero byte" for name, value in variables.items() if "\0" in value]
    if faults:
        raise ValueError("; ".join(faults))
    return variables


Variables = Annotated[dict[str, Annotated[str, BeforeValidator(_as_text)]], AfterValidator(_given_by_users)]
"""Values by name. What launches workers sets the names of its own."""
