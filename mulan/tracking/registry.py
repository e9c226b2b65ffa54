"""The trackers by name: what they need, where they store a run, and how they are opened."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mulan.config.errors import ErrorCollection
from mulan.config.paths import redacted
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.tracker import TrackerError

if TYPE_CHECKING:
    from mulan.tracking.tracker import Tracker


def check_trackers(names: Sequence[str]) -> None:
    """Checks that the packages and settings of trackers are there, without importing them or asking a server.

    Raises:
        TrackerError, SeveralErrors: A package is missing, or MLflow's server is not named; lists all faults.
    """
    errors = ErrorCollection()
    for name in names:
        with errors.collecting():
            package = find_spec(name)
            if package is None or package.origin is None:  # a folder wandb/ of the library's files is no package
                raise TrackerError(
                    f"logging.trackers names {name}, which is not installed; pip install 'mulan[trackers]'"
                )
            # the library's default, a database in the working directory, would be lost with a pod
            if name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
                raise TrackerError(
                    "logging.trackers names mlflow, but MLFLOW_TRACKING_URI is not set; set it to the address of the "
                    "tracking server, such as http://mlflow:5000, in the environment of this command"
                )
    errors.raise_any()


def tracker_lines(names: Sequence[str], run: Run) -> list[str]:
    """Returns a line for each tracker that says where it stores a run."""
    places = {
        "tensorboard": f"tensorboard --logdir {filesystem.join(run.uri, 'tensorboard')}",
        "mlflow": f"{redacted(os.environ.get('MLFLOW_TRACKING_URI', ''))}, run {run.name}",
        "wandb": f"run {run.name}; offline unless an API key is configured",
    }
    return [f"tracker {name}: {places[name]}" for name in names]


def open_tracker(name: str, run: Run, *, run_id: str | None, next_step: int | None) -> "Tracker":
    """Opens a run in a tracker, which takes seconds for its library and may wait for a server.

    Args:
        name: Name of the tracker.
        run: The run.
        run_id: Id of the run in the tracker; None if it has not been there.
        next_step: The first step whose scalars will be sent; None if none will be.

    Raises:
        Exception: Whatever the library raises.
    """
    match name:
        case "tensorboard":
            from mulan.tracking.tensorboard_files import TensorBoardTracker

            return TensorBoardTracker(run, next_step=next_step)
        case "mlflow":
            from mulan.tracking.mlflow_run import MlflowTracker

            return MlflowTracker(run, run_id=run_id)
        case "wandb":
            from mulan.tracking.wandb_run import WandbTracker

            return WandbTracker(run, run_id=run_id)
        case _:
            raise TrackerError(f"there is no tracker {name}")
