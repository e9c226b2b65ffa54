"""A sweep that is asked to stop: its trials save their checkpoints, and then it ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mulan.config.errors import MulanError
from mulan.runs.lease import Fence
from mulan.runs.lease_files import ProcessIdentity, newest
from mulan.runs.stop import RunStopped, StopRequest, StopWatch
from mulan.storage import filesystem

PERIOD_S = 1.0
"""Time between two looks whether trials are still trained."""
_SIGNAL = signal.SIGUSR2
"""The signal that ends the block: a process that a script has put into the background ignores SIGINT, and SIGUSR1 is
Tune's own."""


@contextmanager
def ends_when_asked_to(fence: Fence, runs_uri: str) -> Iterator[None]:
    """Interrupts the block, in the main thread, once the sweep was asked to stop and none of its trials is trained.

    Trials look for the request themselves (:func:`mulan.launch.fit.fit`).

    Args:
        fence: Fence of the sweep's lease.
        runs_uri: Folder of the trials' runs.

    Raises:
        RunStopped: The sweep was asked to stop.
    """
    found: list[StopRequest] = []

    def end(request: StopRequest) -> None:
        print(f"tune  stop {request}; the trials save their checkpoints", flush=True)
        while not ended.is_set() and _trained(runs_uri):
            time.sleep(PERIOD_S)
        if not ended.is_set():
            found.append(request)
            os.kill(os.getpid(), _SIGNAL)  # interrupts the main thread, also while it waits for Ray

    ended = threading.Event()
    handler = signal.signal(_SIGNAL, signal.default_int_handler)
    try:
        with StopWatch([fence], on_request=end):
            try:
                yield
            finally:
                ended.set()
    except KeyboardInterrupt:
        if found:
            raise RunStopped(f"sweep {fence.uri} stopped: {found[0]}") from None
        raise
    finally:
        signal.signal(_SIGNAL, handler)


def wait_for_the_end() -> None:
    """Keeps a trial that has stopped until the sweep ends its process; one that returned would count as trained."""
    threading.Event().wait()


def _trained(runs_uri: str) -> bool:
    """Returns whether a trial has a driver.

    All of them run on the machine of the sweep's own: a lease of another one is that of an earlier call, whose machine
    or container is gone.
    """
    here = ProcessIdentity.current()
    try:
        leases = [newest(filesystem.join(runs_uri, name, "lease")) for name in filesystem.names_in(runs_uri)]
    except (OSError, MulanError):  # looked at again soon
        return True
    holders = [lease.holder for lease in leases if lease is not None]
    return any(
        (holder.process.host, holder.process.machine) == (here.host, here.machine)
        and not (holder.released or holder.process.has_ended())
        for holder in holders
        if holder is not None
    )
