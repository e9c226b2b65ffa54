"""The folder of a run, ``STORAGE/NAME/``: recipe, metrics, checkpoints, exported model and report."""

import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mulan.config.errors import MulanError, RecipeError
from mulan.config.parsing import parse_json, parse_toml
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.runs.checkpoint_list import steps_saved
from mulan.runs.lease import RunHeld, RunTakenOver
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import read_lines


class RunError(MulanError):
    """Raised when a run cannot be started, resumed or read."""


NOT_IN_EARLIER_RECIPES = ("exact_sums", "deterministic")
"""Fields of ``train`` that may be missing in the recipe of a run of an earlier version, which trained without them."""

MAY_CHANGE = (
    "audio_tower.expects_pretrained",
    "data.uri",
    "health.",
    "logging.",
    "scale.",
    "train.checkpoint_every_steps",
    "train.keep_best_checkpoints",
    "train.keep_latest_checkpoints",
    "train.steps",
    "train.validate_every_steps",
)
"""Fields and sections that may change when a run is resumed; no step depends on their values.

``train.validation_micro_batches`` is not among them: the best checkpoints are selected by their scores, and scores over
different numbers of recordings are not comparable.
"""


@dataclass(frozen=True)
class Run:
    """A run, identified by a folder of runs and its name, with the URIs of its files."""

    storage_uri: str
    name: str

    @property
    def uri(self) -> str:
        return filesystem.join(self.storage_uri, self.name)

    @property
    def recipe_uri(self) -> str:
        return filesystem.join(self.uri, "recipe.toml")

    @property
    def corpus_uri(self) -> str:
        """URI of the file with the digest of the index of the run's corpus."""
        return filesystem.join(self.uri, "corpus.json")

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
        """Returns the command that replays a step and diagnoses it."""
        place = f"--storage {shlex.quote(self.storage_uri)} --name {shlex.quote(self.name)}"
        return f"python -m jobs.train {place} --replay-step {step}"

    @property
    def model_uri(self) -> str:
        return filesystem.join(self.uri, "model")

    @property
    def has_model(self) -> bool:
        """Whether a model has been exported, perhaps before the last step."""
        return filesystem.exists(filesystem.join(self.model_uri, "model.safetensors"))

    @property
    def exported_uri(self) -> str:
        """URI of the file with the step of the exported model."""
        return filesystem.join(self.uri, "exported.json")

    @property
    def search_embeddings_uri(self) -> str:
        """URI of the folder with the vectors of the recordings that the run's model makes searchable."""
        return filesystem.join(self.uri, "search", "embeddings")

    @property
    def search_index_uri(self) -> str:
        """URI of the folder with the index of these recordings."""
        return filesystem.join(self.uri, "search", "index")

    @property
    def has_search_index(self) -> bool:
        """Whether the index is complete."""
        return filesystem.exists(filesystem.join(self.search_index_uri, "index.json"))

    @classmethod
    def at(cls, storage_uri: str | os.PathLike[str], name: str) -> "Run":
        """Returns a run by its name.

        Args:
            storage_uri: Folder of runs; a local path is made absolute.
            name: Name of the run, which need not exist.

        Raises:
            RunError: The name is invalid, or ``storage_uri`` is empty.
        """
        if not os.fspath(storage_uri):
            raise RunError("--storage is empty; give a folder of runs")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*", name):
            raise RunError(f"--name {name!r}: use letters, digits and _ . = - only")
        return cls(filesystem.absolute(storage_uri), name)

    def check(self, recipe: Recipe, index_sha256: str | None = None) -> None:
        """Checks that a run of this name, if there is one, can be resumed with this recipe.

        Only the fields in :data:`MAY_CHANGE` may differ. ``data.uri`` must name a copy of the same corpus, according to
        the digest of its index, and ``train.steps`` must not be below the step of the newest checkpoint.

        Args:
            recipe: The recipe to resume with.
            index_sha256: Digest of the index of the recipe's corpus (:class:`mulan.data.corpus.index.Corpus`); None
                if the corpus has not been opened yet.

        Raises:
            RunError: The run cannot be resumed with this recipe; lists the fields that differ.
        """
        if not filesystem.exists(self.recipe_uri):
            return
        own, own_sha256 = self.recipe(), self._index_sha256()
        differing = differing_fields(own, recipe)
        changes = {key: both for key, both in differing.items() if not key.startswith(MAY_CHANGE)}
        if own_sha256 is None and "data.uri" in differing:  # begun by an earlier version: its corpus is unknown
            changes["data.uri"] = differing["data.uri"]
        if changes:
            listed = "\n".join(f"  - {key}: {old!r} there, {new!r} here" for key, (old, new) in sorted(changes.items()))
            raise RunError(f"run {self.uri} has another recipe; give this one another --name\n{listed}")
        if own_sha256 and index_sha256 and own_sha256 != index_sha256:
            raise RunError(
                f"run {self.uri} was trained on another corpus; give the corpus that it began with, or another --name\n"
                f"  - data.uri: {own.data.uri!r} (index {own_sha256[:12]}) there, "
                f"{recipe.data.uri!r} (index {index_sha256[:12]}) here"
            )
        if recipe.train.steps < own.train.steps:
            self._check_not_below_checkpoint(recipe.train.steps)

    def _check_not_below_checkpoint(self, steps: int) -> None:
        done = steps_saved(self.uri)
        if done > steps:
            raise RunError(
                f"run {self.uri} has a checkpoint of step {done}, so train.steps = {steps} cannot be reached any more; "
                f"set it to {done} or more, or give another --name"
            )

    def check_writable(self) -> None:
        """Checks that the run's folder, which need not exist, is writable, without changing anything in it.

        Raises:
            StorageError: The folder is not writable.
        """
        filesystem.check_writable(self.uri)

    def begin(self, recipe: Recipe, index_sha256: str | None = None) -> None:
        """Checks the recipe, and writes it and the digest of its corpus's index into the run's folder.

        Args:
            recipe: The recipe to begin or resume with.
            index_sha256: Digest as in :meth:`check`; None keeps a stored digest.

        Raises:
            RunError: The run cannot be resumed with this recipe.
            StorageError: The folder cannot be written.
        """
        self.check(recipe, index_sha256)
        if index_sha256 is not None:  # before the recipe: a run that has a recipe also has the digest
            filesystem.write_atomically(self.corpus_uri, json.dumps({"index_sha256": index_sha256}).encode())
        filesystem.write_atomically(self.recipe_uri, recipe.to_toml().encode())

    def _index_sha256(self) -> str | None:
        """Returns the digest of the index that the run began with; None if the run is of an earlier version.

        Raises:
            RunError: The file with the digest is damaged.
        """
        if not filesystem.exists(self.corpus_uri):
            return None
        try:
            return str(parse_json(filesystem.read_bytes(self.corpus_uri))["index_sha256"])
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{self.corpus_uri} is damaged; restore it, or remove it to resume at the same URI"
            ) from error

    def recipe(self) -> Recipe:
        """Reads the recipe of the run.

        Raises:
            RunError: The run does not exist.
            RecipeError: Its recipe is damaged.
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
        stated = parse_toml(text).get("train", {})
        without = {f"train.{name}": False for name in NOT_IN_EARLIER_RECIPES if name not in stated}
        return recipe.replace(without)

    def exported_steps(self) -> int | None:
        """Returns the number of steps that the exported model was trained for; None if there is none, or it is unknown.

        It is unknown for models that an earlier version has exported, and without an intact file.
        """
        if not filesystem.exists(self.exported_uri):
            return None
        try:
            return int(parse_json(filesystem.read_bytes(self.exported_uri))["steps_done"])
        except (ValueError, TypeError, KeyError):
            return None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the duration of the block to the time of a stage in ``seconds.json``.

        Nothing is recorded if the block raises :class:`RunHeld` or :class:`RunTakenOver`: the run has another driver.
        """
        start_s, is_ours = time.monotonic(), True
        try:
            yield
        except (RunHeld, RunTakenOver):
            is_ours = False
            raise
        finally:
            seconds = time.monotonic() - start_s
            with suppress(StorageError):  # must not hide an error of the block
                if is_ours:
                    earlier = self.seconds()
                    total = earlier | {stage: earlier.get(stage, 0.0) + seconds}
                    filesystem.write_atomically(self._seconds_uri, json.dumps(total).encode())

    def seconds(self) -> dict[str, float]:
        """Returns the total time of each stage over all attempts in seconds; empty without an intact file."""
        if not filesystem.exists(self._seconds_uri):
            return {}
        try:
            values = parse_json(filesystem.read_bytes(self._seconds_uri))
            return {str(stage): float(seconds) for stage, seconds in values.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    @property
    def _seconds_uri(self) -> str:
        return filesystem.join(self.uri, "seconds.json")

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of ``metrics.jsonl``.

        Raises:
            DamagedFile: A line is damaged.
        """
        return read_lines(self.metrics_uri, require_step=True)
