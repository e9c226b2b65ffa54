"""Benchmark of variants of a recipe: each is trained with several seeds and evaluated on held-out recordings."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mulan.benchmarks.measure import BenchmarkRefused, Figure, in_fresh_process
from mulan.benchmarks.results import Report, Row
from mulan.benchmarks.worker_group import Reading
from mulan.config.recipe import Recipe
from mulan.recipes.registry import with_settings
from mulan.storage import filesystem

EMA_DECAY = 0.95
"""Decay of averaged weights, over about the last 20 steps."""

TRAINING = "training"
"""Name of the time of training, in seconds, among the scores."""

_TIMEOUT_S = 24 * 3600.0


def variants(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Returns the settings of each variant of a recipe by name; the first is the recipe itself.

    Args:
        recipe: A recipe like ``demo``, with a linear decay until its last step and frozen layers of the text encoder.
    """
    optim, steps = recipe.optim, recipe.train.steps
    return {
        "recipe": (),
        "text at [CLS]": ("text_tower.pooling=cls",),
        "one more text layer trained": (f"text_tower.frozen_layers={recipe.text_tower.frozen_layers - 1}",),
        "SpecAugment": ("front_end.frequency_mask_bins=6", "front_end.time_mask_frames=12"),
        "cosine decay": ("optim.schedule=cosine",),
        "decay in steps": (
            "optim.schedule=step",
            "optim.decay_until_step=0",
            "optim.decay_factor=0.7",
            f"optim.decay_every_steps={steps // 8}",
        ),
        "one and a half times the peak rate": (f"optim.lr={optim.lr * 1.5}",),
        "averaged weights": (f"optim.ema_decay={EMA_DECAY}",),
        "temperature 0.05 at first": ("loss.temperature_init=0.05",),
        "loss of CLIP": ("loss.weights.contrastive=0", "loss.weights.clip=1"),
        "loss of SigLIP": ("loss.weights.contrastive=0", "loss.weights.siglip=1"),
        "equal texts masked": ("loss.mask_equal_texts=true",),
        "random subsets of texts": ("data.text_sampling=subset",),
        "half the steps": _scaled(recipe, steps=0.5),
        "half the batch, twice the steps": (*_scaled(recipe, steps=2), _batch(recipe, 0.5)),
    }


def _scaled(recipe: Recipe, *, steps: float) -> tuple[str, ...]:
    optim, count = recipe.optim, round(recipe.train.steps * steps)
    return (
        f"train.steps={count}",
        f"optim.decay_until_step={count}",
        f"optim.warmup_steps={round(optim.warmup_steps * steps)}",
    )


def _batch(recipe: Recipe, size: float) -> str:
    return f"batch.pairs_per_micro_batch={round(recipe.batch.pairs_per_micro_batch * size)}"


def bench_variants(
    recipe: Recipe, folder_uri: str, *, names: Sequence[str], rounds: int, progress: Callable[[str], None]
) -> Report:
    """Trains and evaluates each variant once per round, with the number of the round as ``train.seed``.

    Readings are kept, named after variant and seed: a second call takes only those that are missing.

    Args:
        recipe: A recipe with a corpus.
        folder_uri: Folder of the readings.
        names: Names among :func:`variants`; all if empty.
        rounds: Number of seeds.
        progress: Called with a line of text for each reading.

    Raises:
        BenchmarkRefused: A name is unknown, the recipe embeds no texts, or a kept reading is of another recipe.
        RecipeError: A variant of the recipe is invalid.
        BenchmarkFailed: A variant could not be trained.
    """
    settings = variants(recipe)
    unknown = [name for name in names if name not in settings]
    if unknown:
        raise BenchmarkRefused(f"--only {', '.join(unknown)}: choose from {', '.join(settings)}")
    if not recipe.loss.weights.embeds_text:
        raise BenchmarkRefused("the recipe has no contrastive term, so its model cannot be evaluated by text")
    names = names or list(settings)
    varied = {name: with_settings(recipe, settings[name], name=name) for name in names}
    filesystem.check_writable(folder_uri)
    readings: dict[str, list[Reading]] = {name: [] for name in names}
    for seed in range(rounds):
        for name in names:
            toml = varied[name].replace({"train.seed": seed}).to_toml()
            reading = _reading(toml, filesystem.join(folder_uri, f"{_slug(name)}-{seed}.json"))
            shown = "  ".join(f"{column} {value:.3f}" for column, value in reading.items())
            progress(f"seed {seed + 1}/{rounds}  {name}: {shown}")
            readings[name].append(reading)
    rows = [Row(name, _figures(taken), remark=" ".join(settings[name])) for name, taken in readings.items()]
    return Report("Variants", {"rounds": rounds, "steps": recipe.train.steps, "pairs": recipe.batch.pairs}, rows)


def _reading(recipe_toml: str, uri: str) -> Reading:
    """Reads what an earlier call has measured, or measures and writes it."""
    if filesystem.exists(uri):
        kept: dict[str, Any] = json.loads(filesystem.read_bytes(uri))
        if kept["recipe"] != recipe_toml:
            raise BenchmarkRefused(f"{uri} is a reading of another recipe: give another --storage, or remove it")
        return kept["reading"]
    printed = in_fresh_process("mulan.benchmarks.variant_process", [recipe_toml], timeout_s=_TIMEOUT_S)
    reading: Reading = json.loads(printed.splitlines()[-1])
    content = {"recipe": recipe_toml, "reading": reading}
    filesystem.write_atomically(uri, json.dumps(content, indent=2).encode())
    return reading


def _figures(readings: Sequence[Reading]) -> dict[str, Figure]:
    return {
        column: Figure(tuple(reading[column] for reading in readings), "s" if column == TRAINING else "")
        for column in readings[0]
    }


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)
