"""Tests whether the driver of a run is found, and whether it is alive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mulan.monitoring.driver import LeaseWatch, newest_driver
from mulan.runs.lease import STALE_AFTER_S, hold_lease
from mulan.runs.lease_files import ProcessIdentity, newest
from mulan.runs.run import Run
from mulan.runs.stop import request_stop
from tests.monitoring.planted import lease


def test_a_driver_is_alive_until_it_releases_its_lease(storage_uri: str) -> None:
    uri = f"{storage_uri}/run"
    assert newest_driver(uri) is None
    with hold_lease(uri):
        driver = newest_driver(uri)
        assert driver is not None and driver.is_alive and driver.asked_to_stop is None
        assert f"process {os.getpid()} on " in driver.describe()
        seen = newest(f"{uri}/lease")
        assert seen is not None
        request_stop(uri, seen)
        asked = newest_driver(uri)
        assert asked is not None and asked.asked_to_stop is not None
    ended = newest_driver(uri)
    assert ended is not None and ended.has_released and not ended.is_alive
    with hold_lease(uri):
        later = newest_driver(uri)
        assert later is not None and later.lease.generation == 2 and later.asked_to_stop is None


def test_a_driver_elsewhere_is_alive_while_its_lease_is_young(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    lease(run)
    path = tmp_path / "run" / "lease" / "000000001.json"
    now = path.stat().st_mtime
    for age_s, is_alive in ((0, True), (STALE_AFTER_S - 5, True), (STALE_AFTER_S + 5, False)):
        os.utime(path, (now - age_s, now - age_s))
        driver = newest_driver(run.uri)
        assert driver is not None and driver.is_alive is is_alive and not driver.has_ended


@pytest.mark.processes  # only the id of a process that is gone shows it
def test_a_driver_of_this_machine_that_was_killed_is_gone_at_once(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    code = "from mulan.runs.lease_files import ProcessIdentity as P; print(P.current())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    lease(run, process=eval(printed, {"ProcessIdentity": ProcessIdentity}))
    driver = newest_driver(run.uri)
    assert driver is not None and driver.has_ended and not driver.has_released


def test_a_lease_is_observed_without_clocks(tmp_path: Path) -> None:
    run, now_s = Run(str(tmp_path), "run"), [0.0]
    path = tmp_path / "run" / "lease" / "000000001.json"
    lease(run)
    os.utime(path, (1.0, 1.0))  # by the clock of a storage that is decades behind
    watch = LeaseWatch(clock=lambda: now_s[0])

    def is_alive() -> bool:
        driver = newest_driver(run.uri)
        assert driver is not None
        return watch.is_alive(driver)

    assert is_alive()
    now_s[0] = STALE_AFTER_S - 1
    assert is_alive()
    lease(run, renewals=1)
    assert is_alive()
    now_s[0] += STALE_AFTER_S - 1
    assert is_alive()
    now_s[0] += 2
    assert not is_alive()


_PROCESS = '"process": {"host": "h", "pid": 7, "machine": "", "started": 0}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"process": 3}',
        *(f'{{{_PROCESS}, "since": {since}}}'.encode() for since in ('"x"', "null", "NaN", "1e300")),
        f"{{{_PROCESS}}}".replace("7", '"7"').encode(),
    ],
)
def test_a_damaged_lease_has_an_unknown_driver(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "run" / "lease"
    folder.mkdir(parents=True)
    (folder / "000000001.json").write_bytes(content)
    driver = newest_driver(str(tmp_path / "run"))
    assert driver is not None and driver.since is None
    assert driver.describe() == "a driver that is just starting"
