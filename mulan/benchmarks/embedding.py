"""Benchmark of embedding a corpus, in an evaluation and by jobs.embed: their rates relative to the model alone."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from mulan.benchmarks.chords import SECONDS, write_chords
from mulan.benchmarks.measure import in_fresh_process, interleaved, ratios
from mulan.benchmarks.results import Goal, Report, Row
from mulan.config.audio import ResNetTowerConfig
from mulan.recipes.registry import named_recipes
from mulan.tasks.joint import JointTask

GOAL_RATE = 0.9
"""Minimum rate of a pipeline relative to the model alone."""
JOB, COLLECTION = "evaluation's pipeline on Ray", "jobs.embed's pipeline on Ray, with windows"
LOOP, BARE = "decoding and the model in a loop", "the model alone"

_RESNET_18 = ResNetTowerConfig(
    layer="basic", stem_channels=64, stem_stride=2, stage_channels=(64, 128, 256, 512), stage_depths=(2, 2, 2, 2)
)
"""The smallest tower of the usual kind: with a smaller one, decoding would take a large part of the time."""
_TIMEOUT_S = 3600.0


def bench_embedding(*, rounds: int, recordings: int, progress: Callable[[str], None]) -> Report:
    """Embeds a corpus of chords with a ResNet-18 of random weights, in four ways in turn.

    Args:
        rounds: Number of measurements of each candidate.
        recordings: Number of recordings of the generated corpus.
        progress: Called with a line of text after each measurement.
    """
    recipe = named_recipes()["demo"]
    recipe = recipe.replace(data=recipe.data.replace(window_s=10.0), audio_tower=_RESNET_18)
    with tempfile.TemporaryDirectory() as folder:
        corpus, model = os.path.join(folder, "corpus"), Path(folder, "model")
        write_chords(corpus, recordings=recordings)
        model.mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            JointTask(recipe).export(JointTask(recipe).build_model(), model)
        ways = {JOB: "job", COLLECTION: "collection", LOOP: "loop", BARE: "bare"}
        candidates = {name: partial(_rate, way, corpus, str(model)) for name, way in ways.items()}
        rates = interleaved(
            candidates,
            rounds=rounds,
            unit="/s",
            on_reading=lambda name, number, rate: progress(f"round {number}/{rounds}  {name}: {rate:.2f} recordings/s"),
        )
    relative = {name: ratios(rates[name], rates[BARE]) for name in (JOB, COLLECTION, LOOP)}
    return Report(
        "Embedding",
        {"recordings": recordings, "recordings, s": SECONDS, "window, s": recipe.data.window_s, "model": "ResNet-18"},
        [
            *(Row(name, {"rate": rates[name], "/ model": relative[name]}) for name in (JOB, COLLECTION, LOOP)),
            Row(BARE, {"rate": rates[BARE]}),
        ],
        [
            Goal(f"rate / model alone, {name}", relative[name].median, GOAL_RATE, at_most=False)
            for name in (JOB, COLLECTION)
        ],
        [
            "Rates are recordings per second, of the pipelines after the first third, on as many CPUs as Ray offers. "
            "The model alone has windows that were decoded before; the loop shows what decoding costs."
        ],
    )


def _rate(way: str, corpus: str, model: str) -> float:
    arguments = [way, corpus, model]
    return float(in_fresh_process("mulan.benchmarks.embedding_process", arguments, timeout_s=_TIMEOUT_S).split()[-1])
