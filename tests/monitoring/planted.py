"""Folders of runs in a known state, written by the parts that write those of real runs."""

import json
from collections.abc import Sequence
from typing import Any

from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint_list import checkpoint_name
from mulan.runs.lease_files import Holder, ProcessIdentity
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog

ELSEWHERE = ProcessIdentity("node-7", 4242, "another boot/pid:[1]", 1)
STEPS = 20


def planted(
    storage_uri: str, name: str, *settings: str, steps: int = 0, begun: float | None = None, saved: Sequence[int] = ()
) -> Run:
    """Writes the folder of a run of the demo's miniature, 16 pairs a step of 2 s, with a validation every 5 steps.

    Args:
        settings: Overrides of the recipe.
        steps: Number of steps done.
        begun: Time of step 0, from which lines have a ``time``; None for lines without one.
        saved: Steps of the checkpoints, whose scores are a hundredth of the step.
    """
    run = Run.at(storage_uri, name)
    run.begin(load_recipe("demo_miniature", [f"train.steps={STEPS}", *settings], data_uri="/nowhere"), "0" * 64)
    if steps:
        append(run.metrics_uri, [metrics_line(step, begun) for step in range(1, steps + 1)])
    for step in saved:
        manifest = json.dumps({"files": {}, "score": step / 100, "generation": 1}).encode()
        filesystem.write_atomically(filesystem.join(run.uri, checkpoint_name(step), "manifest.json"), manifest)
    return run


def metrics_line(step: int, begun: float | None = None) -> dict[str, Any]:
    line = {
        "step": step,
        "loss": 4.0 - step / 100,
        "temperature": 0.1,
        "grad_norm": 1.0,
        "learning_rate": 0.001,
        "pairs_per_s": 8.0,
        "step_s": 2.0,
        "data_wait_s": 0.0,
        "skipped_recordings": {"silent": 3},
    }
    scored = {"validation": {"recall10": step / 50, "num_queries": 16}} if step % 5 == 0 else {}
    return line | scored | ({} if begun is None else {"time": begun + 2 * step})


def append(uri: str, lines: Sequence[dict[str, Any]]) -> None:
    log = JsonLinesLog(uri)
    log.append(lines)
    log.flush()


def lease(run: Run, generation: int = 1, *, process: ProcessIdentity = ELSEWHERE, **fields: Any) -> Holder:
    """Writes the lease of a driver, by default of a process on another machine that is renewed now."""
    holder = Holder(process, **fields)
    filesystem.write_atomically(filesystem.join(run.uri, "lease", f"{generation:09d}.json"), holder.content())
    return holder
