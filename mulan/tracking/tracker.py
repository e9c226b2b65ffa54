"""The interface of an experiment tracker, and what it receives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mulan.config.errors import MulanError
from mulan.config.paths import redacted
from mulan.config.recipe import Recipe
from mulan.storage.filesystem import printable

Outcome = Literal["finished", "failed", "killed"]
"""How a driver ended: all steps are done, an error stopped it, or it was interrupted."""

_MAX_CHARACTERS = 500
"""Maximum length of the description of an error."""

Cell = str | float | None


class TrackerError(MulanError):
    """An experiment tracker is missing, not configured, or not usable."""


def describe_failure(error: Exception) -> str:
    """Returns the first line of an error of a tracker's library, without credentials and control characters."""
    first = next(iter(str(error).strip().splitlines()), "no message")
    return printable(redacted(f"{type(error).__name__}: {first}"))[:_MAX_CHARACTERS]


@dataclass(frozen=True)
class StepScalars:
    """The scalars of a training step."""

    step: int
    time_s: float
    """When the step ended, in seconds since 1970."""
    values: Mapping[str, float]
    """Finite numbers by name, such as ``train/loss``."""


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    """Rows with a cell for each column; None for a number that is undefined."""


@dataclass(frozen=True)
class PngPicture:
    """A picture with its description."""

    png: bytes
    caption: str


class Tracker(Protocol):
    """One run in an experiment tracker.

    Used by one thread. Every method may block or raise whatever the tracker's library raises: the caller keeps both
    away from training (:mod:`mulan.tracking.feed`).
    """

    run_id: str
    """Id of the run in the tracker, under which another process continues it."""
    stored_after_s: float
    """Time after which scalars are stored even if this process is killed. Younger ones are sent again by the next
    process, and every tracker ignores those that it has."""

    def begin(self, recipe: Recipe) -> None:
        """Marks the run as running, and stores its recipe."""

    def scalars(self, steps: Sequence[StepScalars]) -> None:
        """Stores the scalars of further steps, in ascending order."""

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Stores scores of the model of a step by name, at any time, and again if the model is evaluated again."""

    def event(self, step: int, time_s: float, text: str) -> None:
        """Stores a line about the run, such as that it continues on other workers."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Stores a table; one of the same name is replaced, where the tracker can."""

    def picture(self, name: str, picture: PngPicture, step: int) -> None:
        """Stores a picture; one of the same name is replaced, where the tracker can."""

    def artifact(self, name: str, folder: Path, *, kept: bool) -> None:
        """Stores the files of a local folder, if the tracker stores files.

        Args:
            name: Name of the artifact, such as ``model``.
            folder: The folder.
            kept: Whether the folder remains where it is, so that no copy for a later upload is needed.
        """

    def close(self, outcome: Outcome | None) -> None:
        """Waits until everything is stored, and ends the connection.

        Args:
            outcome: How training ended; None if the run is left in its state.
        """
