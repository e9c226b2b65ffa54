"""Tests that a request to stop reaches the driver that it is addressed to, and no other one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mulan.runs import stop
from mulan.runs.lease import Fence, hold_lease
from mulan.runs.lease_files import newest
from mulan.runs.stop import StopRequest, StopWatch, request_stop, stop_request_to
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from tests.waiting import wait_until


def ask(uri: str) -> None:
    lease = newest(f"{uri}/lease")
    assert lease is not None
    request_stop(uri, lease)


def test_a_request_reaches_the_driver_at_the_time_and_no_later_one(storage_uri: str) -> None:
    uri = f"{storage_uri}/run"
    with hold_lease(uri) as first:
        assert stop_request_to([first]) is None
        ask(uri)
        request = stop_request_to([first])
        assert request is not None and " on " in request.by
    with hold_lease(uri) as second:
        assert stop_request_to([second]) is None
        assert stop_request_to([first]) == request
        other = replace(first, driver="another one of the same generation")  # on storage without conditional writes
        assert stop_request_to([other]) is None
        assert newest(f"{uri}/lease").generation == 2  # type: ignore[union-attr]  # the request is no lease


def test_a_request_to_a_sweep_reaches_its_trials(tmp_path: Path) -> None:
    sweep, trial = str(tmp_path / "sweep"), str(tmp_path / "sweep" / "trials" / "trial_0000")
    with hold_lease(sweep) as of_sweep, hold_lease(trial) as of_trial:
        ask(sweep)
        assert stop_request_to([of_trial]) is None
        assert stop_request_to([of_trial, of_sweep]) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"driver": "me"}',
        *(b'{"driver": "me", "by": "x", "time": %s}' % moment for moment in (b'"y"', b"NaN", b"1e300", b"9" * 400)),
    ],
)
def test_a_damaged_request_is_none(tmp_path: Path, content: bytes) -> None:
    filesystem.write_atomically(str(tmp_path / "lease" / "000000003.stop.json"), content)
    assert stop_request_to([Fence(str(tmp_path), 3, "me")]) is None


def test_a_request_is_shown_without_control_characters(tmp_path: Path) -> None:
    content = {"driver": "me", "by": "\x1b[31mroot\n" + 200 * "x", "time": 1.0}
    filesystem.write_atomically(str(tmp_path / "lease" / "000000003.stop.json"), json.dumps(content).encode())
    shown = str(stop_request_to([Fence(str(tmp_path), 3, "me")]))
    assert shown.isprintable() and shown.startswith(r"requested by \x1b[31mroot\nxxx") and len(shown) < 200


def test_a_watch_finds_a_request_once_and_survives_storage_that_fails(
    storage_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stop, "LOCAL_PERIOD_S", 0.01)
    monkeypatch.setattr(stop, "REMOTE_PERIOD_S", 0.01)
    names_in, failures = filesystem.names_in, []

    def failing(uri: str) -> list[str]:
        if len(failures) < 3:
            failures.append(uri)
            raise StorageError("no answer")
        return names_in(uri)

    uri, found = f"{storage_uri}/run", list[StopRequest]()
    with hold_lease(uri) as fence:
        monkeypatch.setattr(filesystem, "names_in", failing)
        with StopWatch([fence], on_request=found.append) as watch:
            wait_until(lambda: len(failures) == 3, what="storage fails")
            assert not watch.is_requested
            ask(uri)
            wait_until(lambda: watch.is_requested, what="the request is found")
    assert len(found) == 1
    warnings = [one.getMessage() for one in caplog.records if one.name == stop.__name__]
    assert warnings == [f"cannot see whether {uri} is asked to stop: no answer"]  # not with every look
