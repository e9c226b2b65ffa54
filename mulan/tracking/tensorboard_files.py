"""TensorBoard: event files in the folder ``tensorboard/`` of a run."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from mulan.config.recipe import Recipe
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.tracker import Cell, Outcome, PngPicture, StepScalars, Table

RUN_ID = "tensorboard"
"""The id of every run: its event files are in its own folder."""
_MAX_FILE_BYTES = 8 * 2**20
"""Size from which a further event file is begun if the run is in an object store, where files are written whole."""


def event_files_uri(run: Run) -> str:
    """Returns the URI of the folder with the event files of a run, for ``tensorboard --logdir``."""
    return filesystem.join(run.uri, "tensorboard")


class TensorBoardTracker:
    """The event files of a run. TensorBoard stores no artifacts: the model and the report are in the run's folder."""

    stored_after_s = 0.0

    def __init__(self, run: Run, *, next_step: int | None = None) -> None:
        """
        Args:
            run: The run.
            next_step: The first step whose scalars will be sent: later ones, of a process that was killed before it
                could note what it had sent, are hidden. None hides nothing.
        """
        self.run_id = RUN_ID
        self._uri = event_files_uri(run)
        self._is_local = filesystem.is_local(run.uri)
        self._folder = Path(self._uri) if self._is_local else Path(tempfile.mkdtemp(prefix="mulan-tensorboard-"))
        self._sizes: dict[str, int] = {}
        """Sizes of the files in the object store, by name."""
        self._writer = SummaryWriter(str(self._folder), purge_step=next_step)

    def begin(self, recipe: Recipe) -> None:
        """Stores the recipe as text."""
        self._writer.add_text("recipe", _as_code(recipe.to_toml()))

    def scalars(self, steps: Sequence[StepScalars]) -> None:
        """Stores scalars; they are in the run's folder afterwards."""
        for each in steps:
            for name, value in each.values.items():
                self._writer.add_scalar(name, value, each.step, walltime=each.time_s)
        self._flush()

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Stores scores as scalars."""
        self.scalars([StepScalars(step, time.time(), values)])

    def event(self, step: int, time_s: float, text: str) -> None:
        """Stores a line as text of its step."""
        self._writer.add_text("events", _as_code(text), step, walltime=time_s)
        self._flush()

    def table(self, name: str, table: Table, step: int) -> None:
        """Stores a table in Markdown, which TensorBoard renders."""
        rows = [table.columns, ["---"] * len(table.columns), *table.rows]
        text = "\n".join("| " + " | ".join(map(_markdown, row)) + " |" for row in rows)
        self._writer.add_text(name, text, step)

    def picture(self, name: str, picture: PngPicture, step: int) -> None:
        """Stores a picture; TensorBoard has no captions."""
        self._writer.add_image(name, imread(BytesIO(picture.png), format="png"), step, dataformats="HWC")

    def artifact(self, name: str, folder: Path, *, kept: bool) -> None:
        """Stores nothing: TensorBoard has no artifacts."""

    def close(self, outcome: Outcome | None) -> None:
        """Closes the event file."""
        try:
            self._writer.close()
            self._upload()
        finally:
            if not self._is_local:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _flush(self) -> None:
        self._writer.flush()
        self._upload()

    def _upload(self) -> None:
        """Copies event files that have grown to the object store; one that is large enough ends there."""
        if self._is_local:
            return
        for file in sorted(self._folder.iterdir()):
            size = file.stat().st_size
            if self._sizes.get(file.name) == size:
                continue
            filesystem.write_atomically(filesystem.join(self._uri, file.name), file.read_bytes())
            self._sizes[file.name] = size
            if size >= _MAX_FILE_BYTES:
                self._writer.close()  # the next value begins another file
                file.unlink()


def _as_code(text: str) -> str:
    """Returns a text as Markdown that shows it literally."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _markdown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return " ".join(("" if cell is None else str(cell)).replace("|", "\\|").split())
