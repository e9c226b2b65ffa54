"""Where a job is submitted to: the value of ``--to``."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from mulan.submission.errors import SubmissionError
from mulan.submission.kubernetes_names import checked_namespace

JOB_SERVER_PORT = 8265
_CLIENT_PORT = 10001
FORMS = (
    "ray://HOST (with a port, if it is not 8265), https://HOST, a launcher file such as cluster/launcher.yaml, or "
    "kuberay:NAMESPACE"
)


@dataclass(frozen=True)
class JobServer:
    """Ray's job server, which is part of the dashboard of a cluster's head."""

    url: str
    """Its address, ``http://HOST:PORT`` or ``https://HOST[:PORT]``."""


@dataclass(frozen=True)
class Launcher:
    """A cluster that Ray's cluster launcher starts."""

    file: Path


@dataclass(frozen=True)
class KubeRay:
    """A namespace of a Kubernetes cluster with KubeRay."""

    namespace: str


Target = JobServer | Launcher | KubeRay


def parsed_target(text: str) -> Target:
    """Returns the target that ``--to`` names.

    Raises:
        SubmissionError: The text is of no known form, or the launcher file does not exist.

    Example:
        >>> parsed_target("ray://head")
        JobServer(url='http://head:8265')
        >>> parsed_target("kuberay:music")
        KubeRay(namespace='music')
    """
    if text.startswith("kuberay:"):
        namespace = text.removeprefix("kuberay:")
        try:
            return KubeRay(checked_namespace(namespace))
        except ValueError as error:
            raise SubmissionError([f"--to {text}: write kuberay:NAMESPACE; {error}"]) from error
    if "://" in text:
        return JobServer(_url(text))
    if text.endswith((".yaml", ".yml")):
        if not os.path.isfile(text):  # Path's method raises for names that are too long
            raise SubmissionError([f"--to {text}: the file does not exist"])
        return Launcher(Path(text))
    raise SubmissionError([f"--to {text}: must be {FORMS}"])


def _url(text: str) -> str:
    if "@" in text:
        raise SubmissionError(["--to: an address must not contain a user or password; see RAY_AUTH_TOKEN of Ray"])
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError as error:
        raise SubmissionError([f"--to {text}: {error}"]) from error
    port = _port(parts)
    if parts.scheme not in ("ray", "http", "https") or not host or parts.query or parts.path.strip("/"):
        raise SubmissionError([f"--to {text}: must be {FORMS}"])
    if parts.scheme == "ray" and port == _CLIENT_PORT:
        raise SubmissionError(
            [f"--to {text}: {_CLIENT_PORT} is the port of Ray Client; that of the job server is {JOB_SERVER_PORT}"]
        )
    shown = f"[{host}]" if ":" in host else host
    if parts.scheme == "ray":
        return f"http://{shown}:{port or JOB_SERVER_PORT}"
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def _port(parts: SplitResult) -> int | None:
    """Returns the port of an address; None if it has none."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # not in the form of a URI, in which messages show no text after a colon that may be a password
        given = parts.netloc.rpartition(":")[2]
        usual = str(JOB_SERVER_PORT) if parts.scheme == "ray" else f"that of {parts.scheme}"
        fault = f"the port of {parts.hostname}, {given!r}, must be a number from 1 to 65535; without one it is {usual}"
        raise SubmissionError([f"--to: {fault}"])
    return port
