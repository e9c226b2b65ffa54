"""Tests that a sweep ends when it is asked to, once its trials have."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from mulan.runs.lease import Fence, hold_lease
from mulan.runs.lease_files import newest
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped, request_stop
from mulan.storage import filesystem
from tests.monitoring.planted import lease
from tests.waiting import wait_until
from tune import stopping
from tune.stopping import ends_when_asked_to


def ask(uri: str) -> None:
    held = newest(f"{uri}/lease")
    assert held is not None
    request_stop(uri, held)


def wait_in_sweep(fence: Fence, runs_uri: str) -> None:
    with ends_when_asked_to(fence, runs_uri):
        ask(fence.uri)
        time.sleep(60.0)  # the request ends it


@contextmanager
def ignored_interrupts() -> Iterator[None]:
    """What a shell script does to the processes that it puts into the background."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("place", [nullcontext, ignored_interrupts])
def test_a_sweep_ends_after_its_trials(
    place: Callable[[], AbstractContextManager[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "PERIOD_S", 0.01)
    sweep, runs = str(tmp_path / "sweep"), str(tmp_path / "sweep" / "trials")
    filesystem.write_atomically(f"{runs}/trial_0001/recipe.toml", b"")  # never had a driver
    lease(Run(runs, "trial_0002"))  # of an earlier call, whose machine is gone
    order = []

    def train() -> None:
        with hold_lease(f"{runs}/trial_0000"):
            begun.set()
            wait_until(lambda: filesystem.exists(f"{sweep}/lease/000000001.stop.json"), what="the request")
            time.sleep(0.1)
            order.append("trial")

    begun = threading.Event()
    trial = threading.Thread(target=train)
    with place(), hold_lease(sweep) as fence:
        trial.start()
        begun.wait()
        with pytest.raises(RunStopped, match=r"sweep .*sweep stopped: requested by ") as stopped:
            wait_in_sweep(fence, runs)
        order.append("sweep")
    trial.join()
    assert order == ["trial", "sweep"] and stopped.value.exit_code == 3


def test_a_sweep_that_ends_by_itself_or_by_an_interrupt_is_not_stopped(tmp_path: Path) -> None:
    sweep = str(tmp_path / "sweep")
    with hold_lease(sweep) as fence:
        with ends_when_asked_to(fence, f"{sweep}/trials"):
            pass
        with pytest.raises(KeyboardInterrupt), ends_when_asked_to(fence, f"{sweep}/trials"):
            raise KeyboardInterrupt
