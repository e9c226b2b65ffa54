"""Named recipes, and the loading of a recipe from a name or TOML file and ``section.field=value`` settings."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mulan.config.audio import ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_toml
from mulan.config.paths import absolute, scheme_of
from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, DataConfig, OptimConfig, ScaleConfig, TextTowerConfig, TrainConfig
from mulan.config.validation import parsed_settings, with_changes
from mulan.recipes.miniature import MINILM, miniature
from mulan.recipes.mulan import TEXT_ABLATIONS, m_ast, m_resnet50, m_resnet50_audioset, with_texts
from mulan.recipes.mulap import mulap
from mulan.recipes.semisupcon import mulan_semi, semisupcon


def demo() -> Recipe:
    """A small MuLan that trains in about six minutes on two CPU cores with two workers, on :mod:`mulan.demo`'s corpus.

    It has MuLan's objective and sources, a window of 3 s, a small residual network and a batch of 128. The README of
    this package shows what variants of it do to its scores.
    """
    return Recipe(
        data=DataConfig(window_s=3.0),
        front_end=VggishFrontEndConfig(hop_ms=16.0, frequency_mask_bins=0, time_mask_frames=0),
        audio_tower=ResNetTowerConfig(
            layer="basic",
            stem_channels=32,
            stem_stride=2,
            stage_channels=(32, 64, 128, 256),
            stage_depths=(1, 1, 1, 1),
        ),
        # MiniLM was trained as a sentence encoder by the mean of its outputs
        text_tower=TextTowerConfig(pretrained=MINILM, max_tokens=32, frozen_layers=5, pooling="mean", length_groups=4),
        batch=BatchConfig(micro_batches=2, pairs_per_micro_batch=64),
        optim=OptimConfig(lr=2e-3, pretrained_lr_scale=0.2, warmup_steps=20, schedule="linear", decay_until_step=480),
        train=TrainConfig(
            steps=480,
            checkpoint_every_steps=120,
            validate_every_steps=120,
            validation_micro_batches=2,
        ),
        scale=ScaleConfig(workers=2, data_cpus=2),
    )


ABLATED = ("m_resnet50", "m_ast")
"""Names of the recipes with text ablations, which are named ``m_resnet50_aset`` and so on."""


@functools.cache
def named_recipes() -> Mapping[str, Recipe]:
    """Returns all recipes by name, each with its miniature as ``NAME_miniature``; they are built once per process."""
    recipes = {
        recipe.__name__: recipe()
        for recipe in (demo, m_resnet50, m_ast, m_resnet50_audioset, mulap, semisupcon, mulan_semi)
    }
    recipes |= {
        f"{name}_{texts}": with_texts(recipes[name], ratio)
        for name in ABLATED
        for texts, ratio in TEXT_ABLATIONS.items()
    }
    recipes |= {f"{name}{MINIATURE}": miniature(recipe) for name, recipe in recipes.items()}
    return MappingProxyType(recipes)


MINIATURE = "_miniature"
"""Suffix of the name of a recipe's miniature."""


def load_recipe(name_or_file: str, settings: Iterable[str] = (), *, data_uri: str | None = None) -> Recipe:
    """Loads a named recipe or a TOML file and applies ``settings`` (each ``section.field=value``) to it.

    Args:
        name_or_file: A key of :func:`named_recipes`, or the path of a TOML file that gives only what differs from the
            defaults.
        settings: Settings whose values are parsed as TOML or, if that fails, used as strings. Their order matters only
            for settings of the same field, of which the last one is applied; see :meth:`Recipe.replace`.
        data_uri: Value of ``data.uri``; None keeps that of the recipe.

    Raises:
        RecipeError: The recipe is invalid; the message lists all errors.

    Example:
        >>> load_recipe("demo", ["train.steps=10"]).train.steps
        10
    """
    return _with_settings(_read(name_or_file), settings, name=name_or_file, data_uri=data_uri)


def with_settings(recipe: Recipe, settings: Iterable[str], *, name: str) -> Recipe:
    """Applies settings (each ``section.field=value``) to a recipe, as :func:`load_recipe` does.

    Args:
        recipe: Recipe to which the settings are applied.
        settings: Settings as in :func:`load_recipe`.
        name: Name of the recipe, for messages.

    Raises:
        RecipeError: The recipe is invalid with these settings; the message lists all errors.
    """
    return _with_settings(recipe.model_dump(), settings, name=name)


def _with_settings(
    values: dict[str, Any], settings: Iterable[str], *, name: str, data_uri: str | None = None
) -> Recipe:
    changes, faults = parsed_settings(settings)
    if data_uri is not None:
        changes.append(("data.uri", data_uri))
    return with_changes(Recipe, values, changes, name=name, faults=faults)


def known_names(named: Iterable[str]) -> str:
    """Returns the names of recipes as text for messages, which describes the names of miniatures by their suffix."""
    full_size = [name for name in sorted(named) if not name.endswith(MINIATURE)]
    return f"{', '.join(full_size)}, and each of them with the suffix {MINIATURE}"


def _read(name_or_file: str) -> dict[str, Any]:
    named = named_recipes()
    if name_or_file in named:
        return named[name_or_file].model_dump()
    if not name_or_file.endswith(".toml"):
        near = difflib.get_close_matches(name_or_file, named, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(
            name_or_file, [f"no such recipe; {hint}choose one of {known_names(named)}, or give a .toml file"]
        )
    path = absolute(name_or_file)
    if scheme_of(path):
        raise RecipeError(name_or_file, ["is not a local file; copy it to this machine"])
    try:
        return parse_toml(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(name_or_file, [f"cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise RecipeError(name_or_file, [f"is not TOML: {error}"]) from error
