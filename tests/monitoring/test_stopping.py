"""Tests that a run is asked to stop and waited for, with a clock that advances only by pauses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mulan.monitoring.driver import Driver
from mulan.monitoring.stopping import NoDriver, NotAsked, StillRunning, stop_and_wait
from mulan.runs.lease import STALE_AFTER_S, hold_lease
from mulan.runs.lease_files import Holder, newest
from mulan.runs.run import Run
from mulan.storage import filesystem
from tests.monitoring.planted import ELSEWHERE, lease


class Time:
    """A clock that advances only by pauses, during which the driver may act."""

    def __init__(self, meanwhile: Callable[[int], None] = lambda pauses: None) -> None:
        self.now_s, self.pauses, self._meanwhile = 0.0, 0, meanwhile

    def clock(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        self.pauses += 1
        self._meanwhile(self.pauses)


def stop(uri: str, time: Time, timeout_s: float = 300.0) -> list[Driver]:
    asked: list[Driver] = []
    stop_and_wait(uri, timeout_s=timeout_s, on_request=asked.append, clock=time.clock, pause=time.pause)
    return asked


def has_request(uri: str, generation: int = 1) -> bool:
    return filesystem.exists(f"{uri}/lease/{generation:09d}.stop.json")


def test_it_waits_until_the_driver_has_released_its_lease(storage_uri: str) -> None:
    run = Run(storage_uri, "run")
    holder = lease(run)

    def act(pauses: int) -> None:
        assert has_request(run.uri)
        write(run, holder, renewals=pauses, released=pauses == 500)  # for longer than a lease without renewal lives

    time = Time(act)
    (asked,) = stop(run.uri, time, timeout_s=1e6)
    assert asked.describe().startswith("process 4242 on node-7") and time.pauses == 500


def write(run: Run, holder: Holder, *, renewals: int, released: bool = False) -> None:
    for _ in range(renewals):
        holder = holder.renewal(released=released)
    filesystem.write_atomically(f"{run.uri}/lease/000000001.json", holder.content())


def test_a_later_driver_is_not_waited_for(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    lease(run)
    time = Time(lambda pauses: (lease(run, 2), None)[1])
    stop(run.uri, time)
    assert time.pauses == 1 and not has_request(run.uri, 2)


def test_a_driver_that_is_gone_is_noticed_by_its_lease(tmp_path: Path) -> None:
    run, time = Run(str(tmp_path), "run"), Time()
    lease(run)
    with pytest.raises(NoDriver, match=r"process 4242 on node-7, since .* has not renewed its lease for 60 s"):
        stop(run.uri, time)
    assert STALE_AFTER_S <= time.now_s < STALE_AFTER_S + 5


def test_a_driver_that_does_not_end_keeps_the_request(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    holder = lease(run)
    with pytest.raises(StillRunning, match="has not ended within 90 s; the request remains") as error:
        stop(run.uri, Time(lambda pauses: write(run, holder, renewals=pauses)), timeout_s=90)
    assert error.value.exit_code == 1 and has_request(run.uri)


def test_without_a_timeout_it_only_asks(tmp_path: Path) -> None:
    run, time = Run(str(tmp_path), "run"), Time()
    lease(run)
    assert len(stop(run.uri, time, timeout_s=0)) == 1
    assert (time.pauses, has_request(run.uri)) == (0, True)


def test_nothing_is_written_if_there_is_nothing_to_stop(storage_uri: str) -> None:
    uri = f"{storage_uri}/run"
    with pytest.raises(NoDriver, match="has no driver; there is nothing to stop"):
        stop(uri, Time())
    with hold_lease(uri):
        pass
    with pytest.raises(NoDriver, match=r"has no driver: process \d+ on .*, has ended; there is nothing to stop"):
        stop(uri, Time())
    assert not has_request(uri)


def test_a_lease_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    filesystem.write_atomically(f"{run.uri}/lease/000000001.json", b"")

    def act(pauses: int) -> None:
        if pauses == 2:
            lease(run, process=ELSEWHERE)
        if pauses == 4:
            seen = newest(f"{run.uri}/lease")
            assert seen is not None and seen.holder is not None
            write(run, seen.holder, renewals=1, released=True)

    assert len(stop(run.uri, Time(act))) == 1
    filesystem.write_atomically(f"{run.uri}/lease/000000002.json", b"")
    with pytest.raises(NoDriver, match="a lease that no driver holds"):
        stop(run.uri, Time())


@pytest.mark.parametrize(("content", "timeout_s"), [(b"", 2.0), (b"{damaged", 2.0), (b"{damaged", 0.0)])
def test_a_lease_that_cannot_be_read_is_waited_for_until_the_timeout(
    tmp_path: Path, content: bytes, timeout_s: float
) -> None:
    run, time = Run(str(tmp_path), "run"), Time()
    filesystem.write_atomically(f"{run.uri}/lease/000000001.json", content)
    with pytest.raises(NotAsked, match=r"run was not asked to stop: .*/lease/000000001.json, could not be") as error:
        stop(run.uri, time, timeout_s)
    assert error.value.exit_code == 1
    assert time.now_s == timeout_s and not has_request(run.uri)
