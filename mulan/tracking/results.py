"""What trackers receive after training: the exported model and the evaluation."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.feed import OpenTracker
from mulan.tracking.identity import TrackedRun, read_identity, write_identity
from mulan.tracking.registry import open_tracker
from mulan.tracking.tracker import PngPicture, Table, Tracker, describe_failure

TIMEOUT_S = 300.0
"""Time that a command waits for all trackers to receive a model or an evaluation."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationResults:
    """The results of an evaluation in the terms of trackers."""

    scores: Mapping[str, float]
    """Scores of the model of the run, by the name of the scalar."""
    tables: Mapping[str, Table]
    """Tables by name."""
    pictures: Mapping[str, PngPicture]
    """Pictures by name."""
    file_uris: Sequence[str]
    """Files of the report."""


def send_model(run: Run, step: int, *, open_tracker: OpenTracker = open_tracker) -> None:
    """Sends the exported model of a run to its trackers, as the artifact ``model``; TensorBoard stores no files.

    Args:
        run: The run.
        step: The number of steps that the model was trained for.
        open_tracker: Opens a tracker.
    """
    with tempfile.TemporaryDirectory() as temporary:
        is_local = filesystem.is_local(run.uri)

        def send(tracker: Tracker) -> None:
            folder = filesystem.url_to_fs(run.model_uri)[1] if is_local else str(Path(temporary, tracker.run_id))
            if not is_local:
                filesystem.copy_folder(run.model_uri, folder)
            tracker.artifact("model", Path(folder), kept=is_local)

        _send(run, f"the model of step {step}", send, but={"tensorboard"}, open_tracker=open_tracker)


def send_evaluation(
    run: Run, step: int, results: EvaluationResults, *, open_tracker: OpenTracker = open_tracker
) -> None:
    """Sends an evaluation to the trackers of the run that trained the model, into the same run.

    Args:
        run: The run.
        step: The number of steps that the model was trained for.
        results: The evaluation.
        open_tracker: Opens a tracker.
    """
    with tempfile.TemporaryDirectory() as temporary:

        def send(tracker: Tracker) -> None:
            folder = Path(temporary, tracker.run_id)
            folder.mkdir()
            for uri in results.file_uris:
                (folder / uri.rpartition("/")[2]).write_bytes(filesystem.read_bytes(uri))
            tracker.scores(results.scores, step)
            for name, table in results.tables.items():
                tracker.table(name, table, step)
            for name, picture in results.pictures.items():
                tracker.picture(name, picture, step)
            tracker.artifact("report", folder, kept=False)

        _send(run, "the evaluation", send, open_tracker=open_tracker)


def _send(
    run: Run,
    what: str,
    send: Callable[[Tracker], None],
    *,
    but: frozenset[str] | set[str] = frozenset(),
    open_tracker: OpenTracker,
) -> None:
    """Sends something to each tracker in a thread of its own, and reports what was sent, and why not."""

    def deliver(name: str) -> None:
        try:
            known = read_identity(run, name)
            tracker = open_tracker(name, run, run_id=known.run_id if known else None, next_step=None)
            if known is None or tracker.run_id != known.run_id:
                write_identity(run, name, TrackedRun(tracker.run_id))
            send(tracker)
            tracker.close(None)
        except Exception as error:  # a tracker's library raises anything
            log.warning("tracker %s did not receive %s: %s", name, what, describe_failure(error))

    names = [name for name in run.recipe().logging.trackers if name not in but]
    threads = [threading.Thread(target=deliver, args=(name,), name=f"tracker {name}", daemon=True) for name in names]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + TIMEOUT_S
    for name, thread in zip(names, threads, strict=True):
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            log.warning("tracker %s is given up, since it did not receive %s within %.0f s", name, what, TIMEOUT_S)
