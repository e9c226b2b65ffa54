"""The Ray cluster a command runs on."""

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
"""In which a cluster that is to be joined must take a connection."""


_started: set[int] = set()
"""Number of this process, once it has started a Ray of its own; a process forked from it has another."""


def ends_with_this_process() -> bool:
    """Whether Ray was started here by :func:`connect`, so that nothing of it outlives this process."""
    return os.getpid() in _started


class ClusterRefused(MulanError):
    """No Ray can be started or joined as the environment says, and another attempt would find the same."""


class ClusterFailed(MulanError):
    """Ray could not be started or joined, for a reason that may pass."""

    exit_code = 1


def connect(scale: ScaleConfig) -> None:
    """Joins the cluster of ``RAY_ADDRESS`` (set within submitted jobs), or starts one in this machine's own processes.

    A local cluster offers the CPUs that the recipe asks for, whether or not the machine has so many: two workers and
    their data tasks share two cores well.

    From then on SIGTERM, by which ``ray job stop`` ends a job, interrupts this process as SIGINT does.

    Raises:
        ClusterRefused, ClusterFailed: there is none to be had; says why, and what to do.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        _do_without_home()
    import ray

    if ray.is_initialized():
        return
    try:
        if address:
            _ask(address)
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        else:
            _started.add(os.getpid())
            _start(ray, scale)
    except Exception as error:  # ray.init raises what it meets, of every kind
        _started.discard(os.getpid())
        raise not_to_be_had(error, address) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own, set meanwhile, ends this process with the code of a failure and no word on how to go on
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclass(frozen=True)
class SharedReader:
    """A reader in Ray's object store, where every process of the cluster can get it, with one copy per node."""

    reference: "ray.ObjectRef[MicroBatchReader]"
    index_sha256: str
    """See :class:`mulan.data.corpus.index.Corpus`."""


def shared(reader: "MicroBatchReader") -> SharedReader:
    """Puts a reader into Ray's object store; :func:`connect` must have been called."""
    import ray

    return SharedReader(ray.put(reader), reader.corpus.index_sha256)


def own_resources(scale: ScaleConfig) -> dict[str, float]:
    """What a Ray that is started on this machine offers, by Ray's names."""
    import torch

    return {"CPU": float(_own_cpus(scale)), "GPU": float(torch.cuda.device_count())}


def _own_cpus(scale: ScaleConfig) -> int:
    wanted = scale.max_workers * scale.cpus_per_worker + scale.data_cpus + 1
    return max(wanted, os.cpu_count() or 1)


def _start(ray: Any, scale: ScaleConfig) -> None:
    from mulan.private_ray.core import ENVIRONMENT, PRIVATE_SETTINGS

    ray.init(
        num_cpus=_own_cpus(scale),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": ENVIRONMENT},
        **PRIVATE_SETTINGS,
    )


def _ask(address: str) -> None:
    """Whether anybody listens at a cluster's ``HOST:PORT``: Ray itself asks for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S).close()


def not_to_be_had(error: Exception, address: str | None) -> ClusterRefused | ClusterFailed:
    """An error of ``ray.init`` as the user is told it, with the remedy.

    Args:
        address: of the cluster that should have been joined; None if one should have been started here.
    """
    reason = textwrap.shorten(str(error) or type(error).__name__, 300, placeholder=" ...")
    what = f"the Ray cluster {address} cannot be joined" if address else "Ray cannot be started here"
    if "AF_UNIX" in reason:
        remedy = "set RAY_TMPDIR to a folder with a shorter path, of some 40 letters at most"
    elif isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError) and error.filename:
        remedy = f"let this user write {error.filename}, or set HOME and RAY_TMPDIR to folders that can be written"
    elif "ersion mismatch" in reason:
        remedy = "install the same versions of Python and Ray here and there"
    elif "uthentication" in reason or "token" in reason:
        remedy = "give this user the cluster's token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH), or set RAY_AUTH_MODE"
    elif address:
        remedy = "check RAY_ADDRESS and that the cluster is up; without RAY_ADDRESS a Ray is started here"
    else:
        remedy = "its logs are in RAY_TMPDIR or /tmp/ray; the same command tries again"
        return ClusterFailed(f"{what}: {reason}; {remedy}")
    return ClusterRefused(f"{what}: {reason}; {remedy}")


def _do_without_home() -> None:
    """A Ray that is started here keeps a token in the user's home, which a container's user may not have."""
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    try:
        folder = Path("~/.ray").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) or (folder / "auth_token").is_file():
            return
    except (OSError, RuntimeError):  # RuntimeError: nobody knows this user's home
        pass
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
