"""What a run's folder states about the run in a tracker: its id there, and the last step that was sent."""

import json
import re
from dataclasses import asdict, dataclass

from mulan.config.parsing import parse_json
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.tracker import TrackerError

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Ids of runs in trackers, which become parts of the names of files."""


@dataclass(frozen=True)
class TrackedRun:
    """A run in a tracker."""

    run_id: str
    step: int = 0
    """The last step whose scalars were sent; 0 if there is none."""


def identity_uri(run: Run, tracker: str) -> str:
    """Returns the URI of the file with the identity of a run in a tracker."""
    return filesystem.join(run.uri, "trackers", f"{tracker}.json")


def read_identity(run: Run, tracker: str) -> TrackedRun | None:
    """Returns the identity of a run in a tracker; None if it has not been sent there.

    Raises:
        TrackerError: The file is damaged.
        StorageError: The file cannot be read.
    """
    uri = identity_uri(run, tracker)
    try:
        values = parse_json(filesystem.read_bytes(uri))
        found = TrackedRun(str(values["run_id"]), int(values["step"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        found = None
    if found is None or found.step < 0 or not _RUN_ID.fullmatch(found.run_id):
        raise TrackerError(f"{uri} is damaged; restore it, or remove it to send all steps to a new run of the tracker")
    return found


def write_identity(run: Run, tracker: str, identity: TrackedRun) -> None:
    """Writes the identity of a run in a tracker.

    Raises:
        StorageError: The file cannot be written.
    """
    filesystem.write_atomically(identity_uri(run, tracker), json.dumps(asdict(identity)).encode())
