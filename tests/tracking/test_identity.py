"""Tests the file that states the id of a run in a tracker."""

import pytest

from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.identity import TrackedRun, identity_uri, read_identity, write_identity
from mulan.tracking.tracker import TrackerError


def test_an_identity_is_read_back_and_belongs_to_one_tracker(storage_uri: str) -> None:
    run = Run(storage_uri, "run")
    assert read_identity(run, "mlflow") is None
    write_identity(run, "mlflow", TrackedRun("abc-1", 17))
    assert read_identity(run, "mlflow") == TrackedRun("abc-1", 17)
    assert read_identity(run, "wandb") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"run_id": "a"}',
        b'{"run_id": "../../etc", "step": 1}',
        b'{"run_id": "a", "step": -1}',
        b'{"run_id": "a", "step": "x"}',
        b"\xff",
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(content: bytes, storage_uri: str) -> None:
    run = Run(storage_uri, "run")
    filesystem.write_atomically(identity_uri(run, "wandb"), content)
    with pytest.raises(TrackerError, match=r"trackers/wandb\.json is damaged; restore it, or remove it"):
        read_identity(run, "wandb")
