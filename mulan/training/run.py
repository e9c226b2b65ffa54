"""A run's folder, ``STORAGE/NAME/``: its recipe, its metrics, its checkpoints, its model and its report."""

import json
import os
import re
import shlex
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.data import storage
from mulan.data.storage_errors import StorageError
from mulan.training.errors import RunError, RunHeld, RunTakenOver

NOT_IN_EARLIER_RECIPES = ("exact_sums", "deterministic")
"""Fields of ``train`` that the recipe of a run lacks if an earlier version began it: it was trained without these."""


@dataclass(frozen=True)
class Run:
    """Names the files of a run."""

    storage_uri: str
    name: str

    @property
    def uri(self) -> str:
        return storage.join(self.storage_uri, self.name)

    @property
    def recipe_uri(self) -> str:
        return storage.join(self.uri, "recipe.toml")

    @property
    def metrics_uri(self) -> str:
        return storage.join(self.uri, "metrics.jsonl")

    @property
    def events_uri(self) -> str:
        return storage.join(self.uri, "events.jsonl")

    @property
    def failures_uri(self) -> str:
        return storage.join(self.uri, "failures.jsonl")

    @property
    def quarantine_uri(self) -> str:
        return storage.join(self.uri, "quarantine.parquet")

    def finding_uri(self, step: int) -> str:
        """Where the recordings of a step stand whose numbers went wrong."""
        return storage.join(self.uri, "faults", f"step_{step:09d}.json")

    def replay_command(self, step: int) -> str:
        """What looks into a step."""
        place = f"--storage {shlex.quote(self.storage_uri)} --name {shlex.quote(self.name)}"
        return f"python -m jobs.train {place} --replay-step {step}"

    @property
    def model_uri(self) -> str:
        return storage.join(self.uri, "model")

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
        return cls(storage.absolute(storage_uri), name)

    def check(self, recipe: Recipe) -> None:
        """Makes sure that a run of this name, if there is one, has this recipe; ``scale`` and ``health``
        may differ.

        Raises:
            RunError: it has another; lists the differing fields.
        """
        if not storage.exists(self.recipe_uri):
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
        storage.try_writing(self.uri)

    def begin(self, recipe: Recipe) -> None:
        """Checks and writes the recipe.

        Raises:
            RunError: see :meth:`check`.
            StorageError: the folder cannot be written.
        """
        self.check(recipe)
        storage.write_atomically(self.recipe_uri, recipe.to_toml().encode())

    def recipe(self) -> Recipe:
        """
        Raises:
            RunError: there is no such run.
            RecipeError: its recipe is damaged.
        """
        try:
            content = storage.read_bytes(self.recipe_uri)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise RunError(f"there is no run {self.uri} (no recipe.toml in it); check --storage and --name") from error
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise RecipeError(self.recipe_uri, [f"is not TOML: {error}"]) from error
        recipe = recipe_from_toml(text, name=self.recipe_uri)
        stated = tomllib.loads(text).get("train", {})
        without = {name: False for name in NOT_IN_EARLIER_RECIPES if name not in stated}
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=without)})

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
                    storage.write_atomically(self._seconds_uri, json.dumps(whole).encode())

    def seconds(self) -> dict[str, float]:
        """What each timed stage took, over all of its attempts; nothing where that file is not there, or damaged."""
        if not storage.exists(self._seconds_uri):
            return {}
        try:
            values = json.loads(storage.read_bytes(self._seconds_uri))
            return {str(stage): float(seconds) for stage, seconds in values.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    @property
    def _seconds_uri(self) -> str:
        return storage.join(self.uri, "seconds.json")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``.

        Raises:
            RunError: one is damaged.
        """
        return read_lines(self.metrics_uri, of_steps=True)


def read_lines(uri: str, *, of_steps: bool = False) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file, or none where there is no file.

    Args:
        of_steps: each has a whole number ``step``.

    Raises:
        RunError: a line is damaged.
    """
    if not storage.exists(uri):
        return []
    lines = storage.read_bytes(uri).split(b"\n")[:-1]  # what follows the last newline is a line being written
    return [_parsed(line, f"line {number} of {uri}", of_steps) for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, name: str, of_step: bool) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or (of_step and not isinstance(values.get("step"), int)):
        raise RunError(f"{name} is damaged; restore that file, or remove the line")
    return values


class JsonLinesTail:
    """Reads what is new in a JSON-lines file, again and again."""

    def __init__(self, uri: str) -> None:
        self._uri, self._read = uri, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """The whole lines since the last call; all lines anew where the file was cut back in between."""
        try:
            content, size = storage.read_new(self._uri, self._read)
            if size < self._read:
                self._read = 0
                content, size = storage.read_new(self._uri, 0)
        except (OSError, StorageError):  # whoever watches a run asks again soon
            return []
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError:  # cut back and grown again: this is the middle of a line
            self._read = 0
            return []
        self._read += len(whole)
        return lines


class JsonLinesLog:
    """A JSON-lines file that is appended to during a run and cut back to where the run resumes.

    A local file is written line by line. Object stores cannot append: there the file is written whole at every
    :meth:`flush`, for which another thread may be used.
    """

    def __init__(self, uri: str, *, keep_steps: int | None = None) -> None:
        """Continues a file that is there; lines with a ``step`` above ``keep_steps`` are dropped."""
        self._uri = uri
        of_steps = keep_steps is not None
        kept = [line for line in read_lines(uri, of_steps=of_steps) if keep_steps is None or line["step"] <= keep_steps]
        self._lines = [_line(line) for line in kept]
        storage.write_atomically(uri, "".join(self._lines).encode())
        self._path = storage.filesystem(uri)[1] if storage.is_local(uri) else None

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """
        Raises:
            OSError: a local file takes no more.
        """
        new = [_line(line) for line in lines]
        if self._path is None:
            self._lines += new
        elif new:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(new))

    def flush(self) -> None:
        """
        Raises:
            StorageError: it could not be written; what was there still is.
        """
        if self._path is None:
            storage.write_atomically(self._uri, "".join(self._lines).encode())


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
