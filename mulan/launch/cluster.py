"""The Ray cluster that a command runs on."""

import logging
import os
import secrets
import signal
import socket
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulan.config.errors import MulanError
from mulan.config.sections import ScaleConfig

if TYPE_CHECKING:
    import ray

    from mulan.data.reader import MicroBatchReader

ANSWER_TIMEOUT_S = 20.0
"""The time limit for connecting to an existing cluster."""
SHUTDOWN_LIMIT_S = 15.0
"""The time limit for ending a local cluster after an interruption."""

_started: set[int] = set()
"""The id of this process once it has started Ray; a process forked from it has another id."""


def started_ray() -> bool:
    """Returns whether :func:`connect` started Ray in this process, so that it ends with this process."""
    return os.getpid() in _started


def end_started_ray(limit_s: float = SHUTDOWN_LIMIT_S) -> bool:
    """Ends the Ray that :func:`connect` started in this process, if it did.

    Returns:
        Whether it has ended within the limit in seconds. It does not if its processes received the same signal as this
        one, as from ``timeout`` or a batch system: Ray then waits a minute for an answer of one that is gone.
    """
    if not started_ray():
        return True
    import ray

    ending = threading.Thread(target=ray.shutdown, daemon=True)
    ending.start()
    ending.join(limit_s)
    return not ending.is_alive()


class ClusterRefused(MulanError):
    """Ray cannot be started or joined, and another attempt would fail in the same way."""


class ClusterFailed(MulanError):
    """Ray could not be started or joined, for a reason that may be temporary."""

    exit_code = 1


def connect(scale: ScaleConfig) -> None:
    """Joins the cluster of ``RAY_ADDRESS`` (set in submitted jobs), or starts a local one.

    A local cluster offers the CPUs that the recipe requests, even if the machine has fewer: two workers and their data
    tasks share two cores well.

    Afterwards SIGTERM, by which ``ray job stop`` ends a job, interrupts this process like SIGINT.

    Raises:
        ClusterRefused, ClusterFailed: No cluster can be joined or started; states the reason and the remedy.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        _ensure_auth_token()
    import ray

    if ray.is_initialized():
        return
    try:
        if address:
            _check_listening(address)
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        else:
            _started.add(os.getpid())
            _start(ray, scale)
    except Exception as error:  # ray.init raises errors of every kind
        _started.discard(os.getpid())
        raise connection_error(error, address) from error
    if threading.current_thread() is threading.main_thread():
        # the handler that ray.init sets exits with a failure code and does not say how to resume
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclass(frozen=True)
class SharedReader:
    """A reader in Ray's object store, where every process of the cluster can get it, with one copy per node."""

    reference: "ray.ObjectRef[MicroBatchReader]"
    index_sha256: str
    """See :class:`mulan.data.corpus.index.Corpus`."""


def share_reader(reader: "MicroBatchReader") -> SharedReader:
    """Puts a reader into Ray's object store; :func:`connect` must have been called."""
    import ray

    return SharedReader(ray.put(reader), reader.corpus.index_sha256)


def local_resources(scale: ScaleConfig) -> dict[str, float]:
    """Returns the resources that Ray offers if it is started on this machine, by Ray's names."""
    import torch

    return {"CPU": float(_local_cpus(scale)), "GPU": float(torch.cuda.device_count())}


def _local_cpus(scale: ScaleConfig) -> int:
    wanted = scale.max_workers * scale.cpus_per_worker + scale.data_cpus + 1
    return max(wanted, os.cpu_count() or 1)


def _start(ray: Any, scale: ScaleConfig) -> None:
    from mulan.private_ray.core import ENVIRONMENT, PRIVATE_SETTINGS

    # Ray's processes inherit it; for a runtime environment, a Python that imports Ray would run before each of them
    os.environ.update(ENVIRONMENT)
    ray.init(
        address="local",  # without it, Ray joins the last cluster started by `ray start`, even if it has ended
        num_cpus=_local_cpus(scale),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        **PRIVATE_SETTINGS,
    )


def _check_listening(address: str) -> None:
    """Checks that a process listens at a cluster's ``HOST:PORT``: Ray itself retries for minutes.

    Raises:
        OSError: No process listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S).close()


def connection_error(error: Exception, address: str | None) -> ClusterRefused | ClusterFailed:
    """Returns the error that is shown to the user for one of ``ray.init``, with the remedy.

    Args:
        address: The address of the cluster to join; None if a local cluster was to be started.
    """
    reason = textwrap.shorten(str(error) or type(error).__name__, 300, placeholder=" ...")
    what = f"the Ray cluster {address} cannot be joined" if address else "Ray cannot be started on this machine"
    if "AF_UNIX" in reason:
        remedy = "set RAY_TMPDIR to a folder with a shorter path (at most about 40 characters)"
    elif isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError) and error.filename:
        remedy = f"give this user write access to {error.filename}, or set HOME and RAY_TMPDIR to writable folders"
    elif "ersion mismatch" in reason:
        remedy = "install the same versions of Python and Ray on this machine and on the cluster"
    elif "uthentication" in reason or "token" in reason:
        remedy = "give this user the cluster's token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH), or set RAY_AUTH_MODE"
    elif address:
        remedy = (
            "check RAY_ADDRESS and that the cluster is up, and set RAY_AUTH_MODE=token if it asks for a token; "
            "unset RAY_ADDRESS to start a local cluster"
        )
    else:
        remedy = "see its logs in RAY_TMPDIR or /tmp/ray, and run the same command again"
        return ClusterFailed(f"{what}: {reason}; {remedy}")
    return ClusterRefused(f"{what}: {reason}; {remedy}")


def _ensure_auth_token() -> None:
    """Sets an authentication token if the home folder, where a local Ray keeps one, is not writable (containers)."""
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    try:
        folder = Path("~/.ray").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) or (folder / "auth_token").is_file():
            return
    except (OSError, RuntimeError):  # RuntimeError: this user has no home folder
        pass
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
