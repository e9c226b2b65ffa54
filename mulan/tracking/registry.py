"""The trackers by name: what they need, where they store a run, and how they are opened."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mulan.config.errors import ErrorCollection
from mulan.config.paths import redacted
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.environment import URI_VARIABLE, fault_of_mlflow, fault_of_wandb
from mulan.tracking.tracker import TrackerError

if TYPE_CHECKING:
    from mulan.tracking.tracker import Tracker


# MLflow's default, a database in the working directory, would be lost with a pod
_FAULTS = {"mlflow": fault_of_mlflow, "wandb": fault_of_wandb}


def check_trackers(names: Sequence[str]) -> None:
    """Checks that the packages and settings of trackers are there, without importing them or asking a server.

    Raises:
        TrackerError, SeveralErrors: A package is missing, or an environment variable is missing or not of the form that
            its library takes; lists all faults.
    """
    errors = ErrorCollection()
    for name in names:
        with errors.collecting():
            package = find_spec(name)
            if package is None or package.origin is None:  # a folder wandb/ of the library's files is no package
                raise TrackerError(
                    f"logging.trackers names {name}, which is not installed; pip install 'mulan[trackers]'"
                )
            if fault := _FAULTS[name](os.environ) if name in _FAULTS else "":
                raise TrackerError(f"logging.trackers names {name}, but {fault}")
    errors.raise_any()


def tracker_lines(names: Sequence[str], run: Run) -> list[str]:
    """Returns a line for each tracker that says where it stores a run."""
    places = {
        "tensorboard": f"tensorboard --logdir {filesystem.join(run.uri, 'tensorboard')}",
        "mlflow": f"{redacted(os.environ.get(URI_VARIABLE, ''))}, run {run.name}",
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
