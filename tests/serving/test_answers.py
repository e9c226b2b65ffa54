"""Errors have the HTTP status that tells a client what to do."""

import pytest

from mulan.config.errors import MulanError
from mulan.search.errors import OtherModel, UnknownRecording, UnusableQuery
from mulan.serving.answers import status_of
from mulan.serving.audio import UnsatisfiableRange
from mulan.serving.service import NotReady
from mulan.serving.uploads import UploadRefused
from mulan.storage.errors import StorageError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownRecording("a"), 404),
        (UnsatisfiableRange(1), 416),
        (UnusableQuery("x"), 422),
        (UploadRefused("x", status=413), 413),
        (StorageError("x"), 503),
        (OtherModel("x"), 503),
        (NotReady("x"), 503),
        (MulanError("x"), 503),
    ],
)
def test_the_status_of_an_error(error: MulanError, status: int) -> None:
    assert status_of(error) == status
