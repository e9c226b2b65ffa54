"""Tests the lease of a run: who holds it, who is refused, takeovers, and that the former driver stops writing."""

import json
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mulan.runs import lease, lease_files
from mulan.runs.lease import POLL_PERIOD_S, RENEWAL_PERIOD_S, STALE_AFTER_S, Fence, RunHeld, RunTakenOver, hold_lease
from mulan.runs.lease_files import Holder, ProcessIdentity
from mulan.storage import filesystem, retries
from tests.conftest import S3
from tests.s3_proxy import INTERNAL_ERROR, Cut
from tests.waiting import wait_until

ELSEWHERE = ProcessIdentity("node-7", 4242, "another boot/pid:[1]", 1)


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "run")
    return f"{request.getfixturevalue('s3').uri}/run"


class Time:
    """A clock that advances only by pauses, during which another driver may act."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.now_s, self.waits, self._meanwhile = 0.0, 0, meanwhile

    def clock(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        self.waits += 1
        self._meanwhile()


def taken(uri: str, time: Time) -> Fence:
    with hold_lease(uri, clock=time.clock, pause=time.pause) as fence:
        return fence


def write(uri: str, generation: int, holder: Holder) -> None:
    filesystem.write_atomically(f"{uri}/lease/{generation:09d}.json", holder.content())


def test_a_released_lease_is_acquired_at_once(uri: str) -> None:
    time = Time()
    generations = [taken(uri, time).generation for _ in range(3)]
    assert generations == [1, 2, 3]
    assert time.waits == 0
    assert filesystem.names_in(uri) == ["lease"]


def test_the_lease_of_a_killed_local_driver_is_acquired_at_once(uri: str) -> None:
    gone = replace(ProcessIdentity.current(), started=1)
    write(uri, 7, Holder(gone))
    time = Time()
    assert taken(uri, time).generation == 8
    assert time.waits == 0


def test_a_live_driver_is_named_and_keeps_the_lease(uri: str) -> None:
    holder = Holder(ELSEWHERE, since=0.0)
    write(uri, 3, holder)

    def renew() -> None:
        if time.now_s >= RENEWAL_PERIOD_S:
            write(uri, 3, holder.renewal())

    time = Time(renew)
    message = (
        rf"{uri} has a driver already: process 4242 on node-7, since 1970-01-01 00:00:00 UTC, its last step is 120; "
    )
    with (
        pytest.raises(RunHeld, match=message + ".*--name") as refused,
        hold_lease(uri, progress=lambda: "its last step is 120", clock=time.clock, pause=time.pause),
    ):
        pytest.fail("two drivers")
    assert refused.value.exit_code == 2
    assert time.now_s <= RENEWAL_PERIOD_S + POLL_PERIOD_S
    assert len(filesystem.names_in(f"{uri}/lease")) == 1


def test_a_stale_lease_is_taken_over(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    write(uri, 3, Holder(ELSEWHERE))
    time = Time()
    assert taken(uri, time).generation == 4
    assert STALE_AFTER_S <= time.now_s <= STALE_AFTER_S + POLL_PERIOD_S
    (message,) = [one.getMessage() for one in caplog.records if one.name == lease.__name__]
    assert "process 4242 on node-7" in message and "60 s" in message


def test_a_lease_released_while_waiting_is_acquired(uri: str) -> None:
    holder = Holder(ELSEWHERE)
    write(uri, 3, holder)
    time = Time(lambda: write(uri, 3, holder.renewal(released=True)))
    assert taken(uri, time).generation == 4
    assert time.waits == 1


def test_an_incomplete_file_is_a_starting_driver(uri: str) -> None:
    filesystem.write_atomically(f"{uri}/lease/000000001.json", b"")
    time = Time(lambda: write(uri, 1, Holder(ELSEWHERE)))
    with pytest.raises(RunHeld, match="process 4242 on node-7"):
        taken(uri, time)
    filesystem.write_atomically(f"{uri}/lease/000000002.json", b"{")
    time = Time()
    assert taken(uri, time).generation == 3
    assert time.now_s >= STALE_AFTER_S


def test_an_outage_does_not_make_a_lease_stale(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder could not renew it during the outage either."""
    write(s3.uri, 1, Holder(ELSEWHERE))
    time = Time()

    def slow(folder: str) -> lease_files.LeaseFile | None:
        if time.waits == 5:
            time.now_s += 290.0
        return lease_files.newest(folder)

    monkeypatch.setattr(lease, "newest", slow)
    assert taken(s3.uri, time).generation == 2
    assert time.now_s - 290 >= STALE_AFTER_S - 2 * POLL_PERIOD_S


def test_the_slower_of_two_drivers_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the same lease when the first one acquires it."""
    write(uri, 3, Holder(ELSEWHERE).renewal(released=True))
    create, first = lease.create, hold_lease(uri)

    def create_second(file_uri: str, content: bytes) -> bool:
        monkeypatch.setattr(lease, "create", create)
        assert first.__enter__().generation == 4
        return create(file_uri, content)

    monkeypatch.setattr(lease, "create", create_second)
    with pytest.raises(RunHeld, match="has a driver already"):
        taken(uri, Time())
    first.__exit__(None, None, None)
    assert taken(uri, Time()).generation == 5


def test_a_lost_response_does_not_lose_the_lease(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)
    s3.proxy.fail(Cut.AFTER, "PUT", times=1)
    assert taken(s3.uri, Time()).generation == 1


def race(uri: str, start: "multiprocessing.synchronize.Barrier", results: "multiprocessing.Queue[int | str]") -> None:
    start.wait()
    try:
        with hold_lease(uri) as fence:
            results.put(fence.generation)
            start.wait()  # no process releases the lease before all have tried
    except RunHeld as refused:
        results.put(str(refused))
        start.wait()


@pytest.mark.processes
def test_one_of_many_processes_acquires_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.02)
    monkeypatch.setattr(lease, "POLL_PERIOD_S", 0.01)
    forked, drivers = multiprocessing.get_context("fork"), 6
    start, results = forked.Barrier(drivers), forked.Queue()
    processes = [forked.Process(target=race, args=(str(tmp_path), start, results)) for _ in range(drivers)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=60) for _ in range(drivers)]
    for process in processes:
        process.join()
    assert outcomes.count(1) == 1
    assert sum(isinstance(one, str) and "has a driver already" in one for one in outcomes) == drivers - 1


def test_a_driver_renews_and_releases(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.01)
    renewed = threading.Event()
    write_atomically = filesystem.write_atomically

    def watch(file_uri: str, content: bytes) -> None:
        write_atomically(file_uri, content)
        if json.loads(content)["renewals"] == 3:
            renewed.set()

    monkeypatch.setattr(filesystem, "write_atomically", watch)
    with hold_lease(uri) as fence:
        assert renewed.wait(timeout=30)
        fence.check()
    seen = lease_files.newest(f"{uri}/lease")
    assert seen is not None and seen.holder is not None
    assert seen.holder.released and seen.holder.renewals > 3


def test_a_driver_that_lost_its_lease_neither_renews_nor_releases(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.01)
    with hold_lease(uri) as fence:
        other = Holder(ELSEWHERE)
        write(uri, 2, other)
        with pytest.raises(RunTakenOver, match=r"taken over by process 4242 on node-7.*\(generation 1\)") as lost:
            fence.check()
    assert lost.value.exit_code == 2
    seen = lease_files.newest(f"{uri}/lease")
    assert seen is not None and seen.holder == other
    first = json.loads(filesystem.read_bytes(f"{uri}/lease/000000001.json"))
    assert not first["released"]


def test_a_driver_whose_file_was_overwritten_loses_the_lease(tmp_path: Path) -> None:
    with hold_lease(str(tmp_path)) as fence:
        write(str(tmp_path), 1, Holder(ELSEWHERE))
        with pytest.raises(RunTakenOver, match="node-7"):
            fence.check()


def test_a_removed_folder_has_no_driver(tmp_path: Path) -> None:
    with hold_lease(str(tmp_path / "run")) as fence:
        filesystem.remove_folder(fence.uri)
        with pytest.raises(RunTakenOver, match="its folder was removed"):
            fence.check()
    assert not (tmp_path / "run").exists()


def renewals() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "lease"]


def test_the_end_does_not_wait_for_failing_storage(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.01)
    monkeypatch.setattr(lease, "RELEASE_TIMEOUT_S", 0.0)
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.5)
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.1)
    with hold_lease(s3.uri):
        s3.proxy.fail(INTERNAL_ERROR)
        num_requests = len(s3.proxy.requests)
        wait_until(lambda: len(s3.proxy.requests) > num_requests, what="a renewal that fails")
    assert renewals()
    wait_until(lambda: not renewals(), what="the end of the last renewal")
    s3.proxy.heal()
    time = Time()
    assert taken(s3.uri, time).generation == 2
    assert time.now_s >= STALE_AFTER_S
