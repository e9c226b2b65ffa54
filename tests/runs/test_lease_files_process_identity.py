"""Tests whether a process is known to have ended, by its recorded identity."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mulan.runs import lease_files
from mulan.runs.lease_files import ProcessIdentity
from tests.waiting import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def identity(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    """What that process would write down of itself."""
    status = lease_files._status(process.pid)
    assert status is not None
    return replace(ProcessIdentity.current(), pid=process.pid, started=int(status["started"]))


def test_a_process_has_ended_when_it_is_killed_also_before_it_is_waited_for(sleeping: subprocess.Popen[bytes]) -> None:
    assert not ProcessIdentity.current().has_ended()
    one = identity(sleeping)
    assert not one.has_ended()
    sleeping.kill()
    wait_until(one.has_ended, what="an end that nobody has waited for")
    sleeping.wait()
    assert one.has_ended()


def test_a_number_that_is_used_again_is_another_process() -> None:
    one = ProcessIdentity.current()
    assert replace(one, started=one.started - 1).has_ended()


def test_of_another_machine_or_container_nothing_is_known() -> None:
    one = replace(ProcessIdentity.current(), pid=2**22 + 1)
    assert one.has_ended()
    assert not replace(one, host="another").has_ended()
    assert not replace(one, machine=one.machine.replace("pid:[", "pid:[1")).has_ended()
    assert not replace(one, machine="").has_ended()


def test_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(lease_files.Path, "read_text", refuse)
    one = ProcessIdentity.current()
    assert (one.pid, one.machine) == (os.getpid(), "")
    assert not one.has_ended()


def test_of_a_process_that_the_system_hides_it_is_not_known(
    sleeping: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``hidepid`` hides those of other users."""
    one = identity(sleeping)
    monkeypatch.setattr(lease_files, "_status", lambda _: None)
    assert not one.has_ended()
    sleeping.kill()
    sleeping.wait()
    assert one.has_ended()
