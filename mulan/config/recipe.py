"""The recipe: all sections of the configuration of a run, written to TOML and read from it."""

from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import model_validator

from mulan.config import audio, objectives, sections
from mulan.config.base import PositiveInt, Section
from mulan.config.checks import (
    audio_faults,
    augmentation_faults,
    frozen_faults,
    loss_faults,
    mulap_faults,
    schedule_faults,
    sharing_faults,
    term_faults,
)
from mulan.config.errors import RecipeError
from mulan.config.evaluation import EvaluationConfig, evaluation_faults
from mulan.config.parsing import parse_toml
from mulan.config.tracking import LoggingConfig
from mulan.config.validation import validated


class Recipe(Section):
    """The configuration of a run: everything that determines its result, apart from the code and the corpus.

    Three sections do not determine the result: ``scale`` determines the speed of a run, ``health`` whether it stops at
    non-finite values or collapse, and ``logging`` where it is logged. When a run is resumed, only the fields on which
    no step depends may change (:data:`mulan.runs.run.MAY_CHANGE`).
    """

    data: sections.DataConfig = sections.DataConfig()
    front_end: audio.FrontEndConfig = audio.VggishFrontEndConfig()
    audio_tower: audio.AudioTowerConfig = audio.ResNetTowerConfig()
    text_tower: sections.TextTowerConfig = sections.TextTowerConfig()
    embedding_dim: PositiveInt = 128
    """Dimension of the joint space (MuLan §4.1.2: 128)."""
    loss: objectives.LossConfig = objectives.LossConfig()
    tagging: objectives.TaggingConfig = objectives.TaggingConfig()
    semisupcon: objectives.SemiSupConConfig = objectives.SemiSupConConfig()
    mulap: objectives.MulapConfig = objectives.MulapConfig()
    batch: sections.BatchConfig = sections.BatchConfig()
    optim: sections.OptimConfig = sections.OptimConfig()
    train: sections.TrainConfig = sections.TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    health: sections.HealthConfig = sections.HealthConfig()
    logging: LoggingConfig = LoggingConfig()
    scale: sections.ScaleConfig = sections.ScaleConfig()

    @model_validator(mode="after")
    def _check_sections(self) -> "Recipe":
        window_s = self.encoder_window_samples / self.data.sample_rate_hz
        faults = [
            *term_faults(self.loss.weights),
            *mulap_faults(self.loss.weights, self.mulap, self.data, self.text_tower),
            *loss_faults(self.loss),
            *schedule_faults(self.optim, self.train),
            *sharing_faults(self.batch, self.train, self.scale),
            *frozen_faults(self.loss.weights, self.audio_tower),
            *audio_faults(self.front_end, self.audio_tower, sample_rate_hz=self.data.sample_rate_hz, window_s=window_s),
            *augmentation_faults(self.loss.weights, self.semisupcon.augmentation, self.data),
            *evaluation_faults(self.evaluation, self.loss.weights, self.train),
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def selection_metric(self) -> objectives.SelectionMetric:
        """The score by which checkpoints and trials are compared: ``evaluation.select``, or that of the objective."""
        name = self.evaluation.select
        return objectives.SelectionMetric(name, name) if name else objectives.selection_metric(self.loss.weights)

    @property
    def views(self) -> int:
        """Number of windows of each recording in a batch."""
        return self.semisupcon.views if self.loss.weights.semisupcon else 1

    @property
    def encoder_window_samples(self) -> int:
        """Length of the audio encoder's input in samples: the window or, for MuLaP, one of its segments."""
        if self.loss.weights.uses_mulap:
            return round(self.mulap.segment_s * self.data.sample_rate_hz)
        return self.data.window_samples

    @property
    def segments(self) -> int:
        """Number of whole segments in a window (1 except for MuLaP); the remaining samples are not used."""
        return self.data.window_samples // self.encoder_window_samples

    def with_random_audio_tower(self) -> "Recipe":
        """Returns the recipe without ``audio_tower.pretrained``, for weights that are loaded from elsewhere.

        A tower whose structure is that of its checkpoint keeps it.
        """
        return self.replace(audio_tower=audio.without_pretrained(self.audio_tower))

    def flat(self) -> dict[str, Any]:
        """Returns the values of all fields by their dotted paths, ``section.field``, as values of JSON."""
        return _flatten(self.model_dump(mode="json"))

    def to_toml(self) -> str:
        """Returns the recipe with all fields as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def recipe_from_toml(text: str, *, name: str) -> Recipe:
    """Parses a recipe from TOML, the inverse of :meth:`Recipe.to_toml`.

    Args:
        text: TOML that gives at least the values that differ from the defaults.
        name: Name of the recipe, for messages.

    Raises:
        RecipeError: The text is not TOML, or the recipe is invalid; lists all errors.
    """
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise RecipeError(name, [f"is not TOML: {error}"]) from error
    return validated(Recipe, values, name=name)


def differing_fields(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two recipes differ.

    Returns:
        Both values of each field by its dotted path, ``section.field``; None if a recipe does not have the field.
    """
    old, new = first.flat(), second.flat()
    return {
        key: (old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
