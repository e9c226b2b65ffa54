"""Validation of sections, with error messages that name the field and suggest fields with similar names."""

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mulan.config.errors import RecipeError

_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], values: Mapping[str, Any], *, name: str, faults: Sequence[str] = ()) -> _Model:
    """Validates nested values and returns them as a model.

    Args:
        model: Class of a section, or of a recipe.
        values: Nested values by field.
        name: Name of the recipe, for messages.
        faults: Errors that the caller has detected; they are reported together with those of the values.

    Raises:
        RecipeError: A value is invalid, or ``faults`` is not empty; lists all errors.
    """
    try:
        valid = model.model_validate(values)
    except ValidationError as error:
        raise RecipeError(name, [*faults, *(_describe(model, fault) for fault in error.errors())]) from error
    if faults:
        raise RecipeError(name, faults)
    return valid


def set_nested(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Sets a value in a nested dict, in place; a new ``family`` removes all other values of its section."""
    *parents, field = path
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            break
        values = child
    if field == "family" and values.get("family") != value:
        values.clear()  # families have different fields: the new one starts from its defaults
    values[field] = value


def _describe(model: type[BaseModel], fault: Mapping[str, Any]) -> str:
    path: list[str] = []
    parents, sections = {model}, {model}
    parts = iter(fault["loc"])
    for part in parts:
        path.append(str(part))
        parents, sections = sections, _sections_of(sections, str(part))
        if len(sections) > 1:
            chosen = next(parts, None)  # pydantic lists the family as a separate part of the location
            sections = {section for section in sections if section.model_fields["family"].default == chosen}
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        valid = sorted({field for section in parents for field in section.model_fields})
        near = difflib.get_close_matches(path[-1], valid, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key} is not a field; {hint}valid here: {', '.join(valid)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    return f"{key} = {fault['input']!r}: {message[:1].lower()}{message[1:]}"


def _sections_of(parents: set[type[BaseModel]], field: str) -> set[type[BaseModel]]:
    """Returns the section classes that a field may contain: several if the field has families."""
    annotations = [parent.model_fields[field].annotation for parent in parents if field in parent.model_fields]
    return {section for annotation in annotations for section in _models_in(annotation)}


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in typing.get_args(annotation) for model in _models_in(argument)}
