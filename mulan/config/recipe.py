"""A recipe: all sections of a run, read from a name, a TOML file and ``section.field=value`` settings."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError, model_validator

from mulan.config import sections
from mulan.config.errors import RecipeError


class Recipe(sections.Section):
    """Everything that determines a run's result, and nothing else (but ``scale``, which determines its speed)."""

    data: sections.Data = sections.Data()
    front_end: sections.FrontEnd = sections.VggishFrontEnd()
    audio_tower: sections.AudioTower = sections.ResNetTower()
    text_tower: sections.TextTower = sections.TextTower()
    embedding_dim: sections.Count = 128
    """Dimension of the joint space (MuLan §3.1: 128)."""
    loss: sections.Loss = sections.Loss()
    tagging: sections.Tagging = sections.Tagging()
    batch: sections.Batch = sections.Batch()
    optim: sections.Optim = sections.Optim()
    train: sections.Train = sections.Train()
    scale: sections.Scale = sections.Scale()

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        faults = list(_disagreements(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json"))


def _disagreements(recipe: Recipe) -> Iterable[str]:
    weights = recipe.loss.weights
    if weights.contrastive and weights.tagging:
        yield "loss.weights.contrastive and loss.weights.tagging cannot be trained together; set one of them to 0"
    if not weights.contrastive and not weights.tagging:
        yield "loss.weights are all 0; give one term a weight"
    batch, scale, data, front_end = recipe.batch, recipe.scale, recipe.data, recipe.front_end
    if batch.micro_batches % scale.workers:
        fitting = [str(n) for n in range(1, batch.micro_batches + 1) if batch.micro_batches % n == 0]
        yield (
            f"scale.workers = {scale.workers} cannot share batch.micro_batches = {batch.micro_batches}; "
            f"it must be one of {', '.join(fitting)}"
        )
    if recipe.train.validation_micro_batches % scale.workers:
        yield (
            f"train.validation_micro_batches = {recipe.train.validation_micro_batches} cannot be shared evenly among "
            f"scale.workers = {scale.workers}; make it a multiple"
        )
    if recipe.train.compile and recipe.train.zero_stage == 3:
        yield "train.compile cannot be used at train.zero_stage = 3, where weights come and go; use stage 1 or 2"
    if front_end.mel_high_hz > data.sample_rate_hz / 2:
        yield (
            f"front_end.mel_high_hz = {front_end.mel_high_hz:g} is above half of "
            f"data.sample_rate_hz = {data.sample_rate_hz}"
        )
    if front_end.mel_low_hz >= front_end.mel_high_hz:
        yield f"front_end.mel_low_hz = {front_end.mel_low_hz:g} is not below mel_high_hz = {front_end.mel_high_hz:g}"
    for name in ("window_ms", "hop_ms"):
        if round(getattr(front_end, name) * data.sample_rate_hz / 1000) < 1:
            yield f"front_end.{name} = {getattr(front_end, name):g} is less than a sample"
    frames = (data.window_s * 1000 - front_end.window_ms) / front_end.hop_ms + 1
    if frames < 16:
        yield f"data.window_s = {data.window_s:g} holds {max(0, int(frames))} frames of the front end; 16 are needed"
    if isinstance(recipe.audio_tower, sections.AstTower):
        patch = recipe.audio_tower.patch_size
        if patch > min(front_end.mel_channels, frames):
            yield (
                f"audio_tower.patch_size = {patch} does not fit {front_end.mel_channels} mel channels "
                f"by {int(frames)} frames"
            )
    if front_end.frequency_mask_bins > front_end.mel_channels:
        yield (
            f"front_end.frequency_mask_bins = {front_end.frequency_mask_bins} is above "
            f"mel_channels = {front_end.mel_channels}"
        )
    if front_end.time_mask_frames > frames:
        yield f"front_end.time_mask_frames = {front_end.time_mask_frames} is above the window's {int(frames)} frames"


_FAMILIES: dict[str, tuple[type[BaseModel], ...]] = {
    "audio_tower": (sections.ResNetTower, sections.AstTower),
    "front_end": (sections.VggishFrontEnd, sections.KaldiFrontEnd),
}
"""Sections of several families, each with fields of its own."""


MINIATURE = "_miniature"
"""Ends the name of the small twin of a recipe."""


def load_recipe(
    name_or_file: str, named: Mapping[str, Recipe], settings: Iterable[str] = (), *, data_uri: str | None = None
) -> Recipe:
    """The recipe of that name or TOML file with ``settings`` (each ``section.field=value``) laid over it.

    Args:
        name_or_file: a key of ``named``, or the path of a TOML file; a file gives only what differs from the defaults.
        named: the recipes known by name.
        settings: values are read as TOML and, failing that, as bare strings.
        data_uri: replaces ``data.uri``.

    Raises:
        RecipeError: with all the faults found.
    """
    values = _read(name_or_file, named)
    faults: list[str] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            faults.append(f"--set {setting}: write it as section.field=value")
            continue
        _lay_over(values, key.strip().split("."), _parse(text.strip()))
    if data_uri is not None:
        _lay_over(values, ["data", "uri"], data_uri)
    return _build(name_or_file, values, faults)


def known_names(named: Iterable[str]) -> str:
    """The names of recipes as a person reads them: a twin is not listed beside the recipe it is the twin of."""
    whole = [name for name in sorted(named) if not name.endswith(MINIATURE)]
    return f"{', '.join(whole)}, and each with {MINIATURE} at its end"


def recipe_from_toml(text: str, *, name: str) -> Recipe:
    """Inverse of :meth:`Recipe.to_toml`; ``name`` is for messages."""
    try:
        return _build(name, tomllib.loads(text), [])
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name, [f"is not TOML: {error}"]) from error


def differing_fields(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """``section.field`` of every value in which two recipes differ, with both values (None where a field is absent)."""
    ours, theirs = _flatten(one.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
    return {
        key: (ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    }


def _read(name_or_file: str, named: Mapping[str, Recipe]) -> dict[str, Any]:
    if name_or_file in named:
        return named[name_or_file].model_dump(mode="json")
    if not name_or_file.endswith(".toml"):
        near = difflib.get_close_matches(name_or_file, named, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(name_or_file, [f"no such recipe; {hint}there are {known_names(named)}, or name a .toml file"])
    try:
        return tomllib.loads(Path(name_or_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(name_or_file, [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(name_or_file, [f"is not TOML: {error}"]) from error


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lay_over(values: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, field = path
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            break
        values = child
    if field == "family" and values.get("family") != value:
        values.clear()  # another family has other fields: it starts from its own defaults
    values[field] = value


def _build(name: str, values: dict[str, Any], faults: list[str]) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(name, faults + [_describe(fault) for fault in error.errors()]) from error
    if faults:
        raise RecipeError(name, faults)
    return recipe


def _describe(fault: Mapping[str, Any]) -> str:
    path = [str(part) for part in fault["loc"]]
    if path[0:1] and path[0] in _FAMILIES and len(path) > 1:
        path.pop(1)  # pydantic names the chosen family as a step of its own
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        valid = _valid_keys(path[:-1])
        near = difflib.get_close_matches(path[-1], valid, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key} is not a field; {hint}valid here: {', '.join(valid)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    return f"{key} = {fault['input']!r}: {message[:1].lower()}{message[1:]}"


def _valid_keys(path: list[str]) -> list[str]:
    if len(path) == 1 and path[0] in _FAMILIES:
        return sorted({field for family in _FAMILIES[path[0]] for field in family.model_fields})
    section: type[BaseModel] = Recipe
    for part in path:
        child = section.model_fields[part].annotation
        if not (isinstance(child, type) and issubclass(child, BaseModel)):
            return []
        section = child
    return sorted(section.model_fields)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
