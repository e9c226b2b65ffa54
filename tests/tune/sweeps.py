"""Sweeps for tests: plans, and trials that look as if they had been trained."""

import json
from collections.abc import Sequence

from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint_list import checkpoint_name
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog
from tune.early_stopping import EarlyStopping
from tune.objective import objectives_of
from tune.plan import Method, SweepOptions, SweepPlan
from tune.space import Space, load_space, space_from_toml
from tune.trial import Trial

SPACE = """
[space]
"optim.lr" = { loguniform = [1e-4, 1e-2] }
optim.warmup_steps = { randint = [0, 3] }
"audio_tower.stem_channels" = { choice = [4, 8] }
"""


def plan_in(
    folder: str,
    *,
    name: str = "s",
    recipe: str = "demo_miniature",
    settings: Sequence[str] = ("train.steps=6",),
    space: str = "default",
    method: Method = "random",
    objectives: Sequence[str] = (),
) -> SweepPlan:
    """Returns the plan of a sweep in a folder; ``space`` is a name, or the content of a file."""
    loaded = load_recipe(recipe, settings)
    searched: Space = space_from_toml(space, name="file") if "[space]" in space else load_space(space, loaded)
    return SweepPlan(loaded, Run(folder, name), searched, method, objectives_of(objectives, loaded))


def options(trials: int, *, concurrent: int | None = None, asha: EarlyStopping | None = None) -> SweepOptions:
    """Returns options with a short command."""
    return SweepOptions(trials, concurrent, asha, ("python", "-m", "jobs.train", "--data", "my music"))


def trained(trial: Trial, *scores: float, every: int = 2, step_s: float = 1.0) -> None:
    """Writes the metrics of a trial that has been validated ``every`` few steps with these scores of recall@10."""
    lines = [{"step": step, "loss": 3.0, "step_s": step_s} for step in range(1, every * len(scores) + 1)]
    for number, score in enumerate(scores, 1):
        lines[every * number - 1]["validation"] = {"recall10": score}  # type: ignore[assignment]
    JsonLinesLog(trial.run.metrics_uri).append(lines)


def saved(trial: Trial, steps_done: int) -> None:
    """Writes the manifest of a checkpoint without files."""
    manifest = json.dumps({"files": {}, "score": 0.5}).encode()
    filesystem.write_atomically(f"{trial.run.uri}/{checkpoint_name(steps_done)}/manifest.json", manifest)
