"""A recipe: all sections of a run, read from a name, a TOML file and ``section.field=value`` settings."""

import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import model_validator

from mulan.config import audio, sections
from mulan.config.base import PositiveInt, Section
from mulan.config.checks import audio_faults, sharing_faults, term_faults
from mulan.config.errors import RecipeError
from mulan.config.validation import validated


class Recipe(Section):
    """Everything that determines a run's result, and nothing else (but ``scale``, which determines its speed, and
    ``health``, which determines whether it stops).

    A run may be resumed with another recipe only as far as no step depends on it (:data:`mulan.runs.run.MAY_CHANGE`).
    """

    data: sections.DataConfig = sections.DataConfig()
    front_end: audio.FrontEndConfig = audio.VggishFrontEndConfig()
    audio_tower: audio.AudioTowerConfig = audio.ResNetTowerConfig()
    text_tower: sections.TextTowerConfig = sections.TextTowerConfig()
    embedding_dim: PositiveInt = 128
    """Dimension of the joint space (MuLan §3.1: 128)."""
    loss: sections.LossConfig = sections.LossConfig()
    tagging: sections.TaggingConfig = sections.TaggingConfig()
    semisupcon: sections.SemiSupConConfig = sections.SemiSupConConfig()
    mulap: sections.MulapConfig = sections.MulapConfig()
    batch: sections.BatchConfig = sections.BatchConfig()
    optim: sections.OptimConfig = sections.OptimConfig()
    train: sections.TrainConfig = sections.TrainConfig()
    health: sections.HealthConfig = sections.HealthConfig()
    scale: sections.ScaleConfig = sections.ScaleConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        window_s = self.encoder_window_samples / self.data.sample_rate_hz
        faults = [
            *term_faults(self.loss.weights, self.mulap, self.data, self.text_tower),
            *sharing_faults(self.batch, self.train, self.scale),
            *audio_faults(self.front_end, self.audio_tower, sample_rate_hz=self.data.sample_rate_hz, window_s=window_s),
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def views(self) -> int:
        """Windows taken of each recording."""
        return self.semisupcon.views if self.loss.weights.semisupcon else 1

    @property
    def encoder_window_samples(self) -> int:
        """What the audio encoder takes at a time: the window, or one of the segments that MuLaP cuts it into."""
        if self.loss.weights.uses_mulap:
            return round(self.mulap.segment_s * self.data.sample_rate_hz)
        return self.data.window_samples

    @property
    def segments(self) -> int:
        """Segments of a window; what is left of it is not used."""
        return self.data.window_samples // self.encoder_window_samples

    def with_random_audio_tower(self) -> "Recipe":
        """Returns the recipe without ``audio_tower.pretrained``: the weights are drawn, and loaded from elsewhere."""
        return self.replace(audio_tower=audio.without_pretrained(self.audio_tower))

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json"))


def recipe_from_toml(text: str, *, name: str) -> Recipe:
    """Inverse of :meth:`Recipe.to_toml`; ``name`` is for messages."""
    try:
        return validated(Recipe, tomllib.loads(text), name=name)
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


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
