"""Log records of a run's driver and workers, as JSON lines that state the run, the step, the rank and the node.

Ray Train writes what a worker logs, from level INFO on, to ``logs/train/ray-train-app-worker-ID.log`` in the folder of
the Ray session on the worker's node, one JSON object per line with all fields of the record. The driver's warnings and
errors go to a file beside those of its node, and to the console as before.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.util

_LIBRARIES = ("DeepSpeed", "transformers")
"""Loggers of libraries with handlers of their own, which do not reach those of the root logger."""


class RecordFields(logging.Filter):
    """Adds ``run``, ``step``, ``rank`` and ``node`` to log records, except for fields that a record has already.

    It is an instrument of the training loop (:class:`mulan.training.instrument.StepInstrument`), by which it knows the
    step. The records of a step are those of all threads of the process until the next step begins, so also those of
    its validation and its checkpoint.
    """

    def __init__(self, *, run: str, rank: int | None, node: str) -> None:
        """
        Args:
            run: Label of the run (:func:`mulan.launch.worker.label_of`).
            rank: Rank of the worker; None for the driver.
            node: IP address of the node.
        """
        super().__init__()
        self._fields: dict[str, Any] = {"run": run, "step": None, "rank": rank, "node": node}

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in self._fields.items():
            record.__dict__.setdefault(name, value)
        return True

    def begin_step(self, step: int) -> None:
        """Receives the step that begins, counted from 1; the step of earlier records is None."""
        self._fields["step"] = step

    def end_step(self, step: int) -> None:
        """Receives the end of a step; records until the next one still belong to it."""


def label_worker_records(run: str, rank: int) -> RecordFields:
    """Adds the fields to all records that this training worker writes to its log file, for as long as it lives.

    Warnings of Python (:mod:`warnings`) and of libraries that are loaded already are logged there as well.

    Returns:
        The fields, which must be told each step.
    """
    logging.captureWarnings(True)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    fields = RecordFields(run=run, rank=rank, node=ray.util.get_node_ip_address())
    for handler in {*logging.getLogger().handlers, *logging.getLogger("ray.train").handlers}:
        handler.addFilter(fields)
    return fields


@contextmanager
def driver_log(run: str) -> Iterator[None]:
    """Also writes the warnings and errors of this process to a file of JSON lines while it drives a run.

    The file is ``mulan-driver-RUN-PID.log`` beside the log files of Ray Train's workers. Without write access to that
    folder there is none. Ray must be initialised.
    """
    context = ray.get_runtime_context()
    folder = Path(context.get_temp_dir(), context.get_session_name(), "logs", "train")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(
            folder / f"mulan-driver-{run.replace('/', '-')}-{os.getpid()}.log", encoding="utf-8"
        )
    except OSError:  # the cluster was started by another user
        yield
        return
    handler.setLevel(logging.WARNING)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RecordFields(run=run, rank=None, node=ray.util.get_node_ip_address()))
    root = logging.getLogger()
    # Python prints warnings by itself only while there is no handler
    added = [handler] if root.handlers or logging.lastResort is None else [handler, logging.lastResort]
    for each in added:
        root.addHandler(each)
    try:
        yield
    finally:
        for each in added:
            root.removeHandler(each)
        handler.close()


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object with the names that Ray uses in the log files of its workers."""

    def format(self, record: logging.LogRecord) -> str:
        shown = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            "process": record.process,
        }
        if record.exc_info:
            shown["exc_text"] = self.formatException(record.exc_info)
        fields = {name: getattr(record, name) for name in ("run", "step", "rank", "node")}
        return json.dumps(shown | fields, default=str)  # a library's own field of that name may be of any type
