"""A run with planted metrics, and a tracker that records what it receives."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.jsonl import JsonLinesLog
from mulan.tracking.tracker import Outcome, PngPicture, StepScalars, Table

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)
"""A picture of one red pixel."""


def planted_line(step: int, **values: Any) -> dict[str, Any]:
    """Returns a line of ``metrics.jsonl`` whose loss is ``10 / step``."""
    return {
        "step": step,
        "time": 1_700_000_000.0 + step,
        "loss": 10 / step,
        "step_s": 2.0,
        "data_wait_s": 0.5,
        "recordings_checksum": 7,
        "skipped_recordings": {},
        **values,
    }


def recipe_with(*trackers: str) -> Recipe:
    """Returns a recipe with these trackers."""
    listed = ", ".join(f'"{name}"' for name in trackers)
    return load_recipe("demo_miniature", [f"logging.trackers=[{listed}]"])


def planted_run(storage: str | Path, recipe: Recipe, *, steps: int = 0, name: str = "first") -> Run:
    """Returns a begun run with this number of steps."""
    run = Run(str(storage), name)
    run.begin(recipe)
    append_steps(run, range(1, steps + 1))
    return run


def append_steps(run: Run, steps: Sequence[int], *, keep_steps: int | None = None) -> None:
    """Appends steps to ``metrics.jsonl``, whose lines after ``keep_steps`` are removed before."""
    metrics = JsonLinesLog(run.metrics_uri, keep_steps=keep_steps)
    metrics.append([planted_line(step) for step in steps])
    metrics.flush()


class PlantedTracker:
    """Records what it receives; hangs or raises as long as the test wants."""

    def __init__(self, run_id: str = "planted") -> None:
        self.run_id = run_id
        self.stored_after_s = 0.0
        self.calls: list[tuple[Any, ...]] = []
        self.answers = threading.Event()
        """Unset while the tracker hangs."""
        self.answers.set()
        self.error: Exception | None = None
        """Raised by every call."""
        self.opened: list[dict[str, Any]] = []

    def open(self, name: str, run: Run, **given: Any) -> "PlantedTracker":
        self.opened.append({"name": name, "run": run.uri} | given)
        return self

    def steps(self) -> list[int]:
        return [step for call in self.calls if call[0] == "scalars" for step in call[1]]

    def _call(self, *call: Any) -> None:
        self.answers.wait()
        if self.error is not None:
            raise self.error
        self.calls.append(call)

    def begin(self, recipe: Recipe) -> None:
        self._call("begin", recipe.logging.trackers)

    def scalars(self, steps: Sequence[StepScalars]) -> None:
        self._call("scalars", [each.step for each in steps])

    def scores(self, values: Mapping[str, float], step: int) -> None:
        self._call("scores", dict(values), step)

    def event(self, step: int, time_s: float, text: str) -> None:
        self._call("event", step, text)

    def table(self, name: str, table: Table, step: int) -> None:
        self._call("table", name, step)

    def picture(self, name: str, picture: PngPicture, step: int) -> None:
        self._call("picture", name, step)

    def artifact(self, name: str, folder: Path, *, kept: bool) -> None:
        self._call("artifact", name, {file.name: file.read_bytes() for file in folder.iterdir()}, kept)

    def close(self, outcome: Outcome | None) -> None:
        self._call("close", outcome)
