"""Clusters of Ray's cluster launcher: whether one is up, starting it, and forwarding its job server's port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ray.autoscaler.sdk import get_head_node_ip

from mulan.config.parsing import parse_yaml
from mulan.private_ray.launcher import CLOUDS, print_less
from mulan.submission.errors import ClusterUnreachable, SubmissionError
from mulan.submission.target import JOB_SERVER_PORT

FORWARD_LIMIT_S = 120.0
"""The time limit until a forwarded job server answers."""
_RESTART_PAUSE_S = 2.0
_END_LIMIT_S = 10.0
_LOG_LINES = 5
_OF_AWS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile made by aws configure"
_OF_GOOGLE = "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run gcloud auth application-default login"
_CREDENTIALS_ERRORS = {
    "NoCredentialsError": _OF_AWS,
    "PartialCredentialsError": _OF_AWS,
    "ProfileNotFound": _OF_AWS,
    "DefaultCredentialsError": _OF_GOOGLE,
}
"""Errors of the packages of clouds, by name since they may not be installed, with the remedies."""


def ray_command() -> str:
    """Returns the path of Ray's command line, that of this Python environment if it has one."""
    return shutil.which("ray", path=str(Path(sys.executable).parent)) or "ray"


def cluster_name(file: Path) -> str:
    """Returns the name of the cluster of a launcher file.

    Raises:
        SubmissionError: The file is not that of a launcher.
    """
    try:
        config = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SubmissionError([f"--to {file}: cannot be read: {' '.join(str(error).split())}"]) from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster_name"), str) or "provider" not in config:
        raise SubmissionError(
            [f"--to {file}: is not a file of Ray's cluster launcher, which has cluster_name and provider"]
        )
    if fault := _fault_of_provider(config["provider"]):
        raise SubmissionError([f"--to {file}: {fault}"])
    return str(config["cluster_name"])


def _fault_of_provider(provider: object) -> str:
    """Returns what is wrong with the provider of a launcher file; empty if Ray takes it."""
    kind = provider.get("type") if isinstance(provider, dict) else None
    if not isinstance(provider, dict) or not isinstance(kind, str):
        return "provider must have the field type, such as provider: {type: aws, region: us-west-2}"
    if kind not in CLOUDS:
        return f"provider.type {kind}: is unknown to Ray, which has {', '.join(CLOUDS)}"
    if kind == "external" and not isinstance(provider.get("module"), str):
        return "provider.module must name the class of an external provider"
    return ""


def head_of(file: Path) -> str | None:
    """Returns the address of a cluster's head; None if the cluster is not up.

    Raises:
        ClusterUnreachable: The cloud cannot be asked.
        SubmissionError: The file is not that of a launcher, it lacks a field, the package of its cloud is not
            installed, or there are no credentials for it.
    """
    name = cluster_name(file)
    print_less()
    try:
        return get_head_node_ip(str(file))
    except RuntimeError as error:
        if "not found" in str(error):
            return None
        raise ClusterUnreachable(f"the head of cluster {name} cannot be found: {error}") from error
    except ImportError as error:
        raise SubmissionError(
            [f"--to {file}: its provider needs a package that is not installed here: {error}; install it"]
        ) from error
    except KeyError as error:  # Ray checks the fields of its providers by reading them
        raise SubmissionError([f"--to {file}: has no {error}, which Ray needs for this provider"]) from error
    except Exception as error:  # the packages of clouds raise errors of their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if remedy := _CREDENTIALS_ERRORS.get(type(error).__name__):
            raise SubmissionError(
                [f"--to {file}: no credentials of the cloud were found: {remedy} ({reason})"]
            ) from error
        raise ClusterUnreachable(f"the head of cluster {name} cannot be found: {reason}") from error


def start(file: Path) -> None:
    """Starts a cluster, and prints its progress to standard error; a running one keeps its processes.

    Raises:
        ClusterUnreachable: ``ray up`` failed.
    """
    code = subprocess.call([ray_command(), "up", "--yes", "--no-restart", str(file)], stdout=sys.stderr)
    if code != 0:
        raise ClusterUnreachable(f"ray up {file} ended with exit code {code}; see what it printed")


def forwarding_command(file: Path, port: int) -> list[str]:
    """Returns the command that forwards a port of this machine to a cluster's job server while it runs."""
    return [ray_command(), "dashboard", "--port", str(port), "--remote-port", str(JOB_SERVER_PORT), str(file)]


def free_port() -> int:
    """Returns a free port of the loopback interface."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def forwarding(command: Sequence[str], port: int) -> Iterator[str]:
    """Runs a command that forwards a port, and again whenever it ends, while the context is active.

    Args:
        command: The command, which runs until it is ended.
        port: The port of the loopback interface that it forwards to a job server.

    Yields:
        The address of the job server, which answers.

    Raises:
        ClusterUnreachable: The job server did not answer in time; quotes what the command printed last.
    """
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        forward = _Forward(command, log.fileno())
        try:
            if not _answers(url, FORWARD_LIMIT_S):
                log.seek(0)
                printed = " ".join(line.strip() for line in log.readlines()[-_LOG_LINES:])
                raise ClusterUnreachable(
                    f"{command[0]} {command[1]} forwarded no job server within {FORWARD_LIMIT_S:g} s: {printed}"
                )
            yield url
        finally:
            forward.end()


class _Forward:
    """A process that is started again whenever it ends, as connections break."""

    def __init__(self, command: Sequence[str], log: int) -> None:
        self._command, self._log = command, log
        self._ending = threading.Event()
        self._process = self._started()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def end(self) -> None:
        self._ending.set()
        self._keeper.join(_END_LIMIT_S)

    def _started(self) -> "subprocess.Popen[bytes]":
        # a session of its own: Ctrl-C must not cut the connection by which the job is then stopped, and the processes
        # that it starts (ssh) end with it
        return subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def _keep(self) -> None:
        while not self._ending.wait(_RESTART_PAUSE_S / 10):
            if self._process.poll() is not None and not self._ending.wait(_RESTART_PAUSE_S):
                with suppress(OSError):  # is tried again
                    self._process = self._started()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_LIMIT_S / 4)
                return


def _answers(url: str, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/api/version", timeout=5):
                return True
        except urllib.error.HTTPError:  # a server that wants a token
            return True
        except (OSError, ValueError):
            time.sleep(0.5)
    return False
