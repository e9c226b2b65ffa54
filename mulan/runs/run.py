"""A run's folder, ``STORAGE/NAME/``: its recipe, its metrics, its checkpoints, its model and its report."""

import json
import os
import re
import shlex
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mulan.config.errors import MulanError, RecipeError
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.runs.lease import RunHeld, RunTakenOver
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import read_lines


class RunError(MulanError):
    """A run that cannot be started, resumed or read."""


NOT_IN_EARLIER_RECIPES = ("exact_sums", "deterministic")
"""Fields of ``train`` that the recipe of a run lacks if an earlier version began it: it was trained without these."""


@dataclass(frozen=True)
class Run:
    """Names the files of a run."""

    storage_uri: str
    name: str

    @property
    def uri(self) -> str:
        return filesystem.join(self.storage_uri, self.name)

    @property
    def recipe_uri(self) -> str:
        return filesystem.join(self.uri, "recipe.toml")

    @property
    def metrics_uri(self) -> str:
        return filesystem.join(self.uri, "metrics.jsonl")

    @property
    def events_uri(self) -> str:
        return filesystem.join(self.uri, "events.jsonl")

    @property
    def failures_uri(self) -> str:
        return filesystem.join(self.uri, "failures.jsonl")

    @property
    def quarantine_uri(self) -> str:
        return filesystem.join(self.uri, "quarantine.parquet")

    def anomaly_uri(self, step: int) -> str:
        """Returns the URI of the file that names the recordings of an anomalous step."""
        return filesystem.join(self.uri, "anomalies", f"step_{step:09d}.json")

    def replay_command(self, step: int) -> str:
        """What looks into a step."""
        place = f"--storage {shlex.quote(self.storage_uri)} --name {shlex.quote(self.name)}"
        return f"python -m jobs.train {place} --replay-step {step}"

    @property
    def model_uri(self) -> str:
        return filesystem.join(self.uri, "model")

    @classmethod
    def at(cls, storage_uri: str | os.PathLike[str], name: str) -> "Run":
        """The run of that name in a folder of runs, which is made absolute.

        Raises:
            RunError: the name cannot be that of a folder, or no storage is named.
        """
        if not os.fspath(storage_uri):
            raise RunError("--storage names nothing; name a folder of runs")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*", name):
            raise RunError(f"--name {name!r}: use letters, digits and _ . = - only")
        return cls(filesystem.absolute(storage_uri), name)

    def check(self, recipe: Recipe) -> None:
        """Makes sure that a run of this name, if there is one, has this recipe; ``scale`` and ``health``
        may differ.

        Raises:
            RunError: it has another; lists the differing fields.
        """
        if not filesystem.exists(self.recipe_uri):
            return
        differing = differing_fields(self.recipe(), recipe)
        changes = {key: both for key, both in differing.items() if not key.startswith(("scale.", "health."))}
        if changes:
            listed = "\n".join(f"  - {key}: {old!r} there, {new!r} here" for key, (old, new) in changes.items())
            raise RunError(f"run {self.uri} has another recipe; give this one another --name\n{listed}")

    def check_writable(self) -> None:
        """Makes sure that the run's folder can be written, whether or not it is there; changes nothing in it.

        Raises:
            StorageError: it cannot be.
        """
        filesystem.check_writable(self.uri)

    def begin(self, recipe: Recipe) -> None:
        """Checks and writes the recipe.

        Raises:
            RunError: see :meth:`check`.
            StorageError: the folder cannot be written.
        """
        self.check(recipe)
        filesystem.write_atomically(self.recipe_uri, recipe.to_toml().encode())

    def recipe(self) -> Recipe:
        """
        Raises:
            RunError: there is no such run.
            RecipeError: its recipe is damaged.
        """
        try:
            content = filesystem.read_bytes(self.recipe_uri)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise RunError(f"there is no run {self.uri} (no recipe.toml in it); check --storage and --name") from error
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise RecipeError(self.recipe_uri, [f"is not TOML: {error}"]) from error
        recipe = recipe_from_toml(text, name=self.recipe_uri)
        stated = tomllib.loads(text).get("train", {})
        without = {f"train.{name}": False for name in NOT_IN_EARLIER_RECIPES if name not in stated}
        return recipe.replace(without)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to that of earlier blocks of the same stage of this run.

        Not where the block finds that the run is another driver's.
        """
        begun, is_ours = time.monotonic(), True
        try:
            yield
        except (RunHeld, RunTakenOver):
            is_ours = False
            raise
        finally:
            seconds = time.monotonic() - begun
            with suppress(StorageError):  # a lost time must not hide what ended the block
                if is_ours:
                    earlier = self.seconds()
                    whole = earlier | {stage: earlier.get(stage, 0.0) + seconds}
                    filesystem.write_atomically(self._seconds_uri, json.dumps(whole).encode())

    def seconds(self) -> dict[str, float]:
        """What each timed stage took, over all of its attempts; nothing where that file is not there, or damaged."""
        if not filesystem.exists(self._seconds_uri):
            return {}
        try:
            values = json.loads(filesystem.read_bytes(self._seconds_uri))
            return {str(stage): float(seconds) for stage, seconds in values.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    @property
    def _seconds_uri(self) -> str:
        return filesystem.join(self.uri, "seconds.json")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``.

        Raises:
            DamagedFile: one is damaged.
        """
        return read_lines(self.metrics_uri, require_step=True)
