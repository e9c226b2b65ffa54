"""MLflow: a run on the tracking server of ``MLFLOW_TRACKING_URI``."""

import csv
import io
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from mulan.config.paths import redacted
from mulan.config.recipe import Recipe
from mulan.runs.run import Run
from mulan.tracking.environment import URI_VARIABLE, fault_of_mlflow
from mulan.tracking.tracker import Outcome, PngPicture, StepScalars, Table, TrackerError

EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "mulan"
_DEFAULTS = {
    # requests are repeated by the feed, and must not keep the process from ending
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment variables that are set unless they have a value."""
_MAX_METRICS, _MAX_PARAMS = 1000, 100
"""Maximum numbers of metrics and parameters in a request."""
_MAX_TAG_CHARACTERS, _MAX_PARAM_CHARACTERS = 5000, 6000
"""Maximum lengths of values."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowTracker:
    """A run of MLflow, of the experiment ``MLFLOW_EXPERIMENT_NAME`` (default: ``mulan``)."""

    stored_after_s = 0.0

    def __init__(self, run: Run, *, run_id: str | None = None) -> None:
        """
        Args:
            run: The run.
            run_id: Its id in MLflow; without one, or if the server does not know it, a new run is created there.

        Raises:
            TrackerError: ``MLFLOW_TRACKING_URI`` is not set, or is no address.
            MlflowException: The server refuses, or does not answer.
        """
        if fault := fault_of_mlflow(os.environ):
            raise TrackerError(fault)
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._client = MlflowClient(tracking_uri=os.environ[URI_VARIABLE])
        known = run_id is not None and self._is_active(run_id)
        self.run_id: str = run_id if run_id is not None and known else self._create(run)

    def begin(self, recipe: Recipe) -> None:
        """Stores the recipe as a file and its fields as parameters, of which MLflow keeps the first values."""
        self._client.update_run(self.run_id, status="RUNNING")
        stored = self._client.get_run(self.run_id).data.params
        fields = {key: redacted(str(value))[:_MAX_PARAM_CHARACTERS] for key, value in recipe.flat().items()}
        new = [Param(key, value) for key, value in fields.items() if key not in stored]
        for part in _parts(new, _MAX_PARAMS):
            self._client.log_batch(self.run_id, params=part, synchronous=True)
        self._client.log_text(self.run_id, recipe.to_toml(), "recipe.toml")

    def scalars(self, steps: Sequence[StepScalars]) -> None:
        """Stores scalars as metrics; the server has them afterwards, and ignores equal ones that it has."""
        metrics = [
            Metric(name, value, round(1000 * each.time_s), each.step)
            for each in steps
            for name, value in each.values.items()
        ]
        for part in _parts(metrics, _MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=part, synchronous=True)

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Stores scores as metrics."""
        self.scalars([StepScalars(step, time.time(), values)])

    def event(self, step: int, time_s: float, text: str) -> None:
        """Stores a line as the tag ``last_event``."""
        self._client.set_tag(self.run_id, "last_event", f"step {step}: {text}"[:_MAX_TAG_CHARACTERS])

    def table(self, name: str, table: Table, step: int) -> None:
        """Stores a table as a CSV file."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([table.columns, *table.rows])
        self._client.log_text(self.run_id, file.getvalue(), f"{name}.csv")

    def picture(self, name: str, picture: PngPicture, step: int) -> None:
        """Stores a picture as a PNG file."""
        folder, _, base = name.rpartition("/")
        with tempfile.TemporaryDirectory() as local:
            file = Path(local, f"{base}.png")
            file.write_bytes(picture.png)
            self._client.log_artifact(self.run_id, str(file), folder or None)

    def artifact(self, name: str, folder: Path, *, kept: bool) -> None:
        """Stores the files of a folder as artifacts."""
        self._client.log_artifacts(self.run_id, str(folder), name)

    def close(self, outcome: Outcome | None) -> None:
        """Sets the status of the run."""
        if outcome is not None:
            self._client.set_terminated(self.run_id, _STATUS[outcome])

    def _is_active(self, run_id: str) -> bool:
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _create(self, run: Run) -> str:
        name = os.environ.get(EXPERIMENT_VARIABLE) or DEFAULT_EXPERIMENT
        experiment_id = self._experiment_id(name)
        if experiment_id is None:
            try:
                experiment_id = str(self._client.create_experiment(name))
            except MlflowException:  # another run may have created it meanwhile
                experiment_id = self._experiment_id(name)
                if experiment_id is None:
                    raise
        tags = {"mulan.run": redacted(run.uri), "mulan.began": time.strftime("%Y-%m-%d %H:%M:%S")}
        return str(self._client.create_run(experiment_id, run_name=run.name, tags=tags).info.run_id)

    def _experiment_id(self, name: str) -> str | None:
        experiment = self._client.get_experiment_by_name(name)
        return None if experiment is None else str(experiment.experiment_id)


def _parts(values: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), count):
        yield values[start : start + count]
