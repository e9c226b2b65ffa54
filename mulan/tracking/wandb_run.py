"""W&B: a run on its server, or in local files that ``wandb sync`` uploads later."""

import logging
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from mulan.config.paths import redacted
from mulan.config.recipe import Recipe
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.tracker import Outcome, PngPicture, StepScalars, Table

PROJECT_VARIABLE, FOLDER_VARIABLE = "WANDB_PROJECT", "WANDB_DIR"
DEFAULT_PROJECT = "mulan"
_ID_BYTES = 8
_UPLOAD_TIMEOUT_S = 30.0
"""Time that the library waits for uploads when a run is closed or the process ends; the rest stays in local files."""

log = logging.getLogger(__name__)


class WandbTracker:
    """A run of W&B, of the project ``WANDB_PROJECT`` (default: ``mulan``).

    The variables of the library apply, such as ``WANDB_MODE`` and ``WANDB_ENTITY``. Without an API key the run is
    offline; nobody is asked for one. A resumed run that is offline has a further folder of the same id, and W&B joins
    them when they are uploaded.
    """

    stored_after_s = 60.0  # the library's process writes its buffer to the disk every 15 s

    def __init__(self, run: Run, *, run_id: str | None = None) -> None:
        """
        Args:
            run: The run.
            run_id: Its id in W&B; None begins a new one.

        Raises:
            wandb.Error: The server refuses, or does not answer.
        """
        self.run_id = run_id or secrets.token_hex(_ID_BYTES)
        self._is_local = filesystem.is_local(run.uri)
        self._mode = _mode()
        self._run = wandb.init(
            project=os.environ.get(PROJECT_VARIABLE) or DEFAULT_PROJECT,
            id=self.run_id,
            name=run.name,
            notes=redacted(run.uri),
            resume="allow",
            reinit="create_new",  # several runs in one process, such as those of an ablation
            mode=self._mode,
            dir=_folder(run),
            settings=wandb.Settings(
                silent=True,
                console="off",
                # the driver's machine does not train, and its command line is not W&B's business
                x_disable_stats=True,
                x_disable_meta=True,
                disable_git=True,
                disable_code=True,
                save_code=False,
                finish_timeout=_UPLOAD_TIMEOUT_S,
            ),
        )
        # W&B drops values of steps that its server has already
        self._min_step = self._run.step if self._mode in ("online", "offline") else 0

    def begin(self, recipe: Recipe) -> None:
        """Stores the fields of the recipe as the configuration of the run."""
        if self._mode == "offline":
            # a resumption, the model and an evaluation have folders of their own, of the same id
            folders = str(Path(self._run.settings.sync_dir).with_name(f"offline-run-*-{self.run_id}"))
            log.warning("W&B is offline: the run is in %s; upload it with wandb sync", folders)
        config: Any = self._run.config  # without types
        config.update({key: _plain(value) for key, value in recipe.flat().items()}, allow_val_change=True)

    def scalars(self, steps: Sequence[StepScalars]) -> None:
        """Stores scalars, at the step and the time at which they were measured."""
        for each in steps:
            # committed, since the next step may never come
            self._run.log({**each.values, "_timestamp": each.time_s}, step=each.step, commit=True)

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Stores scores, in the row of the tables and pictures of their step."""
        self._log(values, step)

    def event(self, step: int, time_s: float, text: str) -> None:
        """Stores a line as ``last_event`` in the summary."""
        self._run.summary["last_event"] = f"step {step}: {text}"

    def table(self, name: str, table: Table, step: int) -> None:
        """Stores a table, and its earlier versions remain."""
        self._log({name: wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])}, step)

    def picture(self, name: str, picture: PngPicture, step: int) -> None:
        """Stores a picture with its caption, and its earlier versions remain."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "picture.png")
            file.write_bytes(picture.png)
            self._log({name: wandb.Image(str(file), caption=picture.caption)}, step)

    def artifact(self, name: str, folder: Path, *, kept: bool) -> None:
        """Stores the files of a folder as a version of the artifact ``NAME-ID``."""
        artifact = wandb.Artifact(f"{name}-{self.run_id}", type=name)
        # an upload later on reads the files where they are, or their copies in the folder WANDB_DATA_DIR
        policy: Any = "immutable" if kept or self._mode != "offline" else "mutable"
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            artifact.add_file(str(file), name=file.relative_to(folder).as_posix(), policy=policy, skip_cache=True)
        logged = self._run.log_artifact(artifact)
        if self._mode == "online":
            logged.wait()

    def close(self, outcome: Outcome | None) -> None:
        """Ends the run; one that failed or was interrupted has another state than one that is finished."""
        self._run.finish(exit_code=0 if outcome in (None, "finished") else 1)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log(dict(values), step=max(step, self._min_step), commit=False)


def _mode() -> Any:
    """Returns the mode of ``WANDB_MODE`` or of the library's settings; offline if no API key is configured."""
    mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
    return "offline" if mode == "online" and not wandb.login(prompt=False) else mode


def _folder(run: Run) -> str:
    """Returns the folder in which the library keeps its files: ``WANDB_DIR``, or that of the run if it is local."""
    own = os.environ.get(FOLDER_VARIABLE)
    if own or filesystem.is_local(run.uri):
        folder = own or filesystem.url_to_fs(run.uri)[1]
        os.makedirs(folder, exist_ok=True)  # the library would choose another one
        return folder
    return tempfile.mkdtemp(prefix="mulan-wandb-")


def _plain(value: Any) -> Any:
    return redacted(value) if isinstance(value, str) else value
