"""Validation of sections, with error messages that name the field and suggest fields with similar names."""

import difflib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_toml
from mulan.config.paths import PASSWORD_FAULT, redacted

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


def with_changes(
    model: type[_Model],
    values: Mapping[str, Any],
    changes: Iterable[tuple[str, Any]],
    *,
    name: str,
    faults: Sequence[str] = (),
) -> _Model:
    """Applies changes to nested values, validates the result and returns it as a model.

    The order of changes to different fields does not matter: whole sections are applied before their fields, and
    families before other fields. A new family removes the values of its section, except those that are given too.

    Args:
        model: Class of a section, or of a recipe.
        values: Nested values by field; they are not modified.
        changes: Dotted paths of fields with their new values. The value of a whole section is a section, or a mapping
            of the values that differ from its defaults. If a field is given more than once, its last value is applied.
        name: Name of the recipe, for messages.
        faults: Errors that the caller has detected; they are reported together with those of the changes.

    Raises:
        RecipeError: A path leads through a field that is not a section, a value is invalid, or ``faults`` is not empty;
            lists all errors.
    """
    nested, listed = _as_dicts(values), dict.fromkeys(faults)
    given = {tuple(key.split(".")): _as_dicts(value) for key, value in changes}
    for path in sorted(given, key=lambda path: (len(path), path[-1] != "family")):
        if field := _field_without_fields(model, path):
            listed[f"{field} is not a section"] = None
            continue
        is_in_given = any(path[:length] in given for length in range(1, len(path)))
        _set(nested, path, given[path], default_family=None if is_in_given else _default_family(model, path))
    return validated(model, nested, name=name, faults=list(listed))


def parsed_settings(settings: Iterable[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    """Parses settings of the command line, each ``section.field=value``.

    Returns:
        The dotted paths with the values, which are parsed as TOML or, if that fails, are strings; and the faults of
        settings without an equals sign or with credentials, which would be written to files.
    """
    faults: list[str] = []
    changes: list[tuple[str, Any]] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if redacted(setting) != setting:
            faults.append(f"--set {setting}: {PASSWORD_FAULT}")
        elif equals:
            changes.append((key.strip(), _parsed(text.strip())))
        else:
            faults.append(f"--set {setting}: must have the form section.field=value")
    return changes, faults


def _parsed(text: str) -> Any:
    try:
        values = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return values["value"] if values.keys() == {"value"} else text  # a text of several lines


def _as_dicts(value: Any) -> Any:
    """Returns a copy in which all sections and mappings are dicts."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {key: _as_dicts(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _field_without_fields(model: type[BaseModel], path: Sequence[str]) -> str | None:
    """Returns the first field on a path, apart from the last one, that is neither a section nor a dict."""
    annotations: list[Any] = [model]
    for length, field in enumerate(path):
        sections = {section for annotation in annotations for section in _models_in(annotation)}
        dicts = [annotation for annotation in annotations if typing.get_origin(annotation) is dict]
        if not sections and not dicts:
            return ".".join(path[:length])
        annotations = [*_annotations_of(sections, field), *(typing.get_args(one)[1] for one in dicts)]
        if not annotations:
            break  # the field is unknown, which validation reports
    return None


def _default_family(model: type[BaseModel], path: Sequence[str]) -> str | None:
    """Returns the default of a field ``family``; None if ``path`` is that of another field."""
    if len(path) < 2 or path[-1] != "family":
        return None
    *parents, section, _ = path
    owners = {model}
    for parent in parents:
        owners = _sections_of(owners, parent)
    defaults = [owner.model_fields[section].default for owner in owners if section in owner.model_fields]
    return next((default.family for default in defaults if hasattr(default, "family")), None)


def _set(values: dict[str, Any], path: Sequence[str], value: Any, *, default_family: str | None) -> None:
    *parents, field = path
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            return  # the section has another value, which validation reports
    if default_family is not None and values.get("family", default_family) != value:
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
    if fault["type"] in ("model_type", "union_tag_not_found") and not isinstance(fault["input"], Mapping):
        return f"{key} = {fault['input']!r}: input should be a section"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        message = f"input should be a list, such as {json.dumps([fault['input']], default=str)}"
    if not key:
        return message
    # the fault of a whole section names its fields
    is_of_section = fault["type"] in ("value_error", "missing") and isinstance(fault["input"], Mapping)
    shown = key if is_of_section else f"{key} = {fault['input']!r}"
    return f"{shown}: {message[:1].lower()}{message[1:]}"


def _sections_of(parents: set[type[BaseModel]], field: str) -> set[type[BaseModel]]:
    """Returns the section classes that a field may contain: several if the field has families."""
    return {section for annotation in _annotations_of(parents, field) for section in _models_in(annotation)}


def _annotations_of(parents: set[type[BaseModel]], field: str) -> list[Any]:
    return [parent.model_fields[field].annotation for parent in parents if field in parent.model_fields]


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in typing.get_args(annotation) for model in _models_in(argument)}
