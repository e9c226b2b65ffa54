"""Benchmark of variants of a recipe: each is trained with several seeds and evaluated on held-out recordings."""

import json
from collections.abc import Callable, Sequence

from mulan.benchmarks.measure import BenchmarkRefused, Figure, in_fresh_process
from mulan.benchmarks.results import Report, Row
from mulan.benchmarks.worker_group import Reading
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.data.corpus.index import Corpus
from mulan.recipes.registry import with_settings
from mulan.storage import filesystem

EMA_DECAY = 0.95
"""Decay of averaged weights, over about the last 20 steps."""

_DECAYS = 8
"""Number of decays of the variant whose learning rate decays in steps."""

_WITHOUT_EFFECT = ("data.uri", "scale.", "train.checkpoint_every_steps", "train.validat")
"""Beginnings of fields on which no score depends."""

_SPLIT = "test"

_TIMEOUT_S = 24 * 3600.0


def variants(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Returns the settings of each variant of a recipe by name; the first is the recipe itself.

    Args:
        recipe: A recipe like ``demo``, with MuLan's loss and a linear decay until its last step.
    """
    optim, steps = recipe.optim, recipe.train.steps
    return {
        "recipe": (),
        "text at [CLS]": ("text_tower.pooling=cls",),
        "SpecAugment": ("front_end.frequency_mask_bins=6", "front_end.time_mask_frames=12"),
        "cosine decay": ("optim.schedule=cosine",),
        "decay in steps": (
            "optim.schedule=step",
            "optim.decay_until_step=0",
            "optim.decay_factor=0.7",
            f"optim.decay_every_steps={steps // _DECAYS}",
        ),
        "one and a half times the peak rate": (f"optim.lr={optim.lr * 1.5}",),
        "averaged weights": (f"optim.ema_decay={EMA_DECAY}",),
        "temperature 0.05 at first": ("loss.temperature_init=0.05",),
        "loss of CLIP": ("loss.weights.contrastive=0", "loss.weights.clip=1"),
        "loss of SigLIP": ("loss.weights.contrastive=0", "loss.weights.siglip=1"),
        "equal texts masked": ("loss.mask_equal_texts=true",),
        "random subsets of texts": ("data.text_sampling=subset",),
        "half the steps": (
            f"train.steps={steps // 2}",
            f"optim.decay_until_step={steps // 2}",
            f"optim.warmup_steps={optim.warmup_steps // 2}",
        ),
    }


def bench_variants(
    recipe: Recipe, folder_uri: str, *, names: Sequence[str], rounds: int, progress: Callable[[str], None]
) -> Report:
    """Trains and evaluates each variant once per round, with the number of the round as ``train.seed``.

    Readings are kept, named after variant and seed: a second call takes only those that are missing.

    Args:
        recipe: A recipe like ``demo``, with a corpus.
        folder_uri: Folder of the readings.
        names: Names among :func:`variants`; all if empty.
        rounds: Number of seeds.
        progress: Called with a line of text for each reading.

    Raises:
        BenchmarkRefused: A name is unknown, the recipe is of another kind, or a kept reading is damaged or of another
            recipe.
        BenchmarkFailed: A variant could not be trained.
    """
    _check_kind(recipe)
    settings = variants(recipe)
    unknown = [name for name in names if name not in settings]
    if unknown:
        raise BenchmarkRefused(f"--only {', '.join(unknown)}: choose from {', '.join(settings)}")
    names = names or list(settings)
    filesystem.check_writable(folder_uri)
    readings: dict[str, list[Reading]] = {name: [] for name in names}
    for seed in range(rounds):
        for name in names:
            varied = with_settings(recipe, (*settings[name], f"train.seed={seed}"), name=name)
            reading = _reading(varied, filesystem.join(folder_uri, f"{_slug(name)}-{seed}.json"))
            shown = "  ".join(f"{column} {value:.3f}" for column, value in reading.items())
            progress(f"seed {seed + 1}/{rounds}  {name}: {shown}")
            readings[name].append(reading)
    rows = [Row(name, _figures(taken), remark=" ".join(settings[name])) for name, taken in readings.items()]
    measured = {"rounds": rounds, "steps": recipe.train.steps, "pairs": recipe.batch.pairs}
    return Report("Variants", measured, rows, recipe_toml=recipe.replace({"data.uri": ""}).to_toml())


def _check_kind(recipe: Recipe) -> None:
    """Refuses recipes of which :func:`variants` would be invalid, or would differ in more than their names say."""
    optim, steps = recipe.optim, recipe.train.steps
    faults = []
    if not recipe.loss.weights.contrastive:
        faults.append("loss.weights.contrastive must be above 0")
    if optim.schedule != "linear" or optim.decay_until_step != steps:
        faults.append(f"optim.schedule must be linear, and optim.decay_until_step the same as train.steps = {steps}")
    if steps < _DECAYS:
        faults.append(f"train.steps must be at least {_DECAYS}")
    if faults:
        raise BenchmarkRefused(f"variants are those of a recipe like demo: {'; '.join(faults)}")


def _reading(recipe: Recipe, uri: str) -> Reading:
    """Reads what an earlier call has measured, or measures and writes it."""
    if not filesystem.exists(uri):
        if not len(Corpus.open(recipe.data.uri).rows(_SPLIT)):
            raise BenchmarkRefused(f"corpus {recipe.data.uri} has no recordings in the split {_SPLIT!r}")
        arguments = [recipe.to_toml(), _SPLIT]
        printed = in_fresh_process("mulan.benchmarks.variant_process", arguments, timeout_s=_TIMEOUT_S)
        content = {"recipe": recipe.to_toml(), "scores": json.loads(printed.splitlines()[-1])}
        filesystem.write_atomically(uri, json.dumps(content, indent=2).encode())
    try:
        kept = json.loads(filesystem.read_bytes(uri))
        measured, scores = recipe_from_toml(kept["recipe"], name=uri), dict(kept["scores"])
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkRefused(f"{uri} is damaged; remove it, and it is measured again") from error
    differing = [field for field in differing_fields(measured, recipe) if not field.startswith(_WITHOUT_EFFECT)]
    if differing:
        raise BenchmarkRefused(
            f"{uri} is of a recipe with another {', '.join(differing)}; give another --storage, or remove it"
        )
    return scores


def _figures(readings: Sequence[Reading]) -> dict[str, Figure]:
    return {column: Figure(tuple(reading[column] for reading in readings), "") for column in readings[0]}


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)
