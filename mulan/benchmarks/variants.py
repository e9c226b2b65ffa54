"""Benchmark of variants of the demo recipe: each is trained with several seeds and evaluated on held-out recordings."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from mulan.benchmarks.measure import BenchmarkRefused, Figure
from mulan.benchmarks.results import Report, Row
from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.launch.cluster import connect
from mulan.launch.evaluate_run import evaluate_run
from mulan.launch.fit import fit
from mulan.recipes.registry import with_settings
from mulan.runs.export import export_run
from mulan.runs.run import Run
from mulan.storage import filesystem

EMA_DECAY = 0.98
"""Decay of averaged weights, over about the last 50 steps."""


def variants(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Returns the settings of each variant of a recipe with step decay, by name; the first is the recipe itself.

    Variants with more or fewer steps have the same decays at the same shares of training, and those with other batches
    see the same number of pairs.
    """
    optim, steps = recipe.optim, recipe.train.steps
    until = f"optim.decay_until_step={steps}"
    return {
        "recipe": (),
        "text at [CLS]": ("text_tower.pooling=cls",),
        "linear decay": ("optim.schedule=linear", until),
        "cosine decay": ("optim.schedule=cosine", until),
        "half the peak rate": (f"optim.lr={optim.lr / 2}",),
        "one and a half times the peak rate": (f"optim.lr={optim.lr * 1.5}",),
        "temperature 0.05 at first": ("loss.temperature_init=0.05",),
        "loss of CLIP": ("loss.weights.contrastive=0", "loss.weights.clip=1"),
        "decoupled loss": ("loss.weights.contrastive=0", "loss.weights.decoupled=1"),
        "loss of SigLIP": ("loss.weights.contrastive=0", "loss.weights.siglip=1"),
        "equal texts masked": ("loss.mask_equal_texts=true",),
        "random subsets of texts": ("data.text_sampling=subset",),
        "averaged weights": (f"optim.ema_decay={EMA_DECAY}",),
        "half the steps": _scaled(recipe, steps=0.5),
        "twice the steps": _scaled(recipe, steps=2),
        "half the batch": (*_scaled(recipe, steps=2), *_batch(recipe, 0.5)),
        "twice the batch": (*_scaled(recipe, steps=0.5), *_batch(recipe, 2)),
    }


def _scaled(recipe: Recipe, *, steps: float) -> tuple[str, ...]:
    return (
        f"train.steps={round(recipe.train.steps * steps)}",
        f"optim.decay_every_steps={max(1, round(recipe.optim.decay_every_steps * steps))}",
        f"optim.warmup_steps={round(recipe.optim.warmup_steps * steps)}",
    )


def _batch(recipe: Recipe, size: float) -> tuple[str, ...]:
    return (f"batch.pairs_per_micro_batch={round(recipe.batch.pairs_per_micro_batch * size)}",)


def bench_variants(
    recipe: Recipe, storage_uri: str, *, names: Sequence[str], rounds: int, progress: Callable[[str], None]
) -> Report:
    """Trains and evaluates each variant once per round, with the number of the round as ``train.seed``.

    Runs are kept, named after variant and seed: a second call trains only what is missing, and continues a run that was
    interrupted.

    Args:
        recipe: A recipe with a corpus.
        storage_uri: Folder of the runs.
        names: Names among :func:`variants`; all if empty.

    Raises:
        BenchmarkRefused: A name is unknown.
        MulanError: A run failed.
    """
    settings = variants(recipe)
    unknown = [name for name in names if name not in settings]
    if unknown:
        raise BenchmarkRefused(f"--only {', '.join(unknown)}: choose from {', '.join(settings)}")
    names = names or list(settings)
    readings: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(rounds):
        for name in names:
            varied = with_settings(recipe, (*settings[name], f"train.seed={seed}"), name=name)
            run = Run.at(storage_uri, f"{_slug(name)}-{seed}")
            readings[name].append(_scores(run, varied))
            shown = "  ".join(f"{column} {value:.3f}" for column, value in readings[name][-1].items())
            progress(f"seed {seed + 1}/{rounds}  {name}: {shown}")
    rows = [Row(name, _figures(taken), remark=" ".join(settings[name])) for name, taken in readings.items()]
    return Report("Variants", {"rounds": rounds, "steps": recipe.train.steps, "pairs": recipe.batch.pairs}, rows)


def _scores(run: Run, recipe: Recipe) -> dict[str, float]:
    report_uri = filesystem.join(run.uri, "report.json")
    if filesystem.exists(report_uri):
        run.check(recipe)
    else:
        connect(recipe.scale)
        with run.timed("train"):
            fit(recipe, run)
        export_run(run)
        evaluate_run(run, Console(file=io.StringIO()), corpus=Corpus.open(recipe.data.uri))
    report: dict[str, Any] = json.loads(filesystem.read_bytes(report_uri))
    return {
        **{category: scores["roc_auc"] for category, scores in report["zero_shot"].items()},
        "recall@10": report["retrieval"]["recall10"],
        "mAP@10": report["retrieval"]["map10"],
        "training": run.seconds()["train"],
    }


def _figures(taken: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    return {
        column: Figure(tuple(reading[column] for reading in taken), "s" if column == "training" else "")
        for column in taken[0]
    }


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)
