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
    """Returns the identity that a process would record of itself."""
    status = lease_files._status(process.pid)
    assert status is not None
    return replace(ProcessIdentity.current(), pid=process.pid, started=int(status["started"]))


def test_a_killed_process_has_ended_even_before_it_is_waited_for(sleeping: subprocess.Popen[bytes]) -> None:
    assert not ProcessIdentity.current().has_ended()
    one = identity(sleeping)
    assert not one.has_ended()
    sleeping.kill()
    wait_until(one.has_ended, what="an end that nobody has waited for")
    sleeping.wait()
    assert one.has_ended()


def test_a_reused_process_id_is_a_different_process() -> None:
    one = ProcessIdentity.current()
    assert replace(one, started=one.started - 1).has_ended()


def test_processes_of_other_machines_and_containers_are_unknown() -> None:
    one = replace(ProcessIdentity.current(), pid=2**22 + 1)
    assert one.has_ended()
    assert not replace(one, host="another").has_ended()
    assert not replace(one, machine=one.machine.replace("pid:[", "pid:[1")).has_ended()
    assert not replace(one, machine="").has_ended()


def test_processes_are_unknown_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(lease_files.Path, "read_text", refuse)
    one = ProcessIdentity.current()
    assert (one.pid, one.machine) == (os.getpid(), "")
    assert not one.has_ended()


def test_hidden_processes_are_unknown(sleeping: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount option ``hidepid`` hides processes of other users."""
    one = identity(sleeping)
    monkeypatch.setattr(lease_files, "_status", lambda _: None)
    assert not one.has_ended()
    sleeping.kill()
    sleeping.wait()
    assert one.has_ended()
