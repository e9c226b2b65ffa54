"""Ray nodes on this machine, each with its own processes: what a cluster's machines are to Ray."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
RAY = str(Path(sys.executable).with_name("ray"))
START_LIMIT_S = 120

# As in the image: the package can be imported, and nothing is fetched. Other Rays on this machine are none of ours.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # training workers have as many threads as CPUs, which these machines only claim
    "RAY_AUTH_MODE": "disabled",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on; all are held until the last is found, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Node:
    """A machine of a cluster."""

    def __init__(self, *options: str, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        """`ray start --block` ends the processes that it started when it is told to end."""
        self.node_id = ""
        self.process = subprocess.Popen(
            [
                *(RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"),
                *("--object-store-memory=150000000", "--min-worker-port=0", "--max-worker-port=0"),
                *options,
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def processes(self) -> list[psutil.Process]:
        """All that run on it, as far as they are still its children."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self) -> None:
        """As an operator ends it."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def cut_off(self) -> None:
        """As a machine that is taken away: every process at once, and nobody is told."""
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=60)


class Cluster:
    """A head without work, and nodes that come and go."""

    def __init__(self, address: str, dashboard: str, head: Node) -> None:
        self.address, self.dashboard, self.head = address, dashboard, head
        self.nodes: list[Node] = []

    def add_node(self, *, cpus: int, labels: str = "pool=cpu") -> Node:
        (agent,) = free_ports(1)
        options = (f"--address={self.address}", f"--num-cpus={cpus}", f"--labels={labels}")
        before = self.alive()
        self.nodes.append(Node(*options, f"--dashboard-agent-listen-port={agent}"))
        self.nodes[-1].node_id = self.joined_since(before)  # those that start at once take each other's ports
        return self.nodes[-1]

    def joined_since(self, before: set[str]) -> str:
        """Waits for a node that was not there, and returns its id."""
        deadline = time.monotonic() + START_LIMIT_S
        while not (new := self.alive() - before):
            assert time.monotonic() < deadline, f"a node did not join within {START_LIMIT_S} s"
            time.sleep(0.2)
        return new.pop()

    def alive(self) -> set[str]:
        """Ids of the nodes that Ray takes to be alive."""
        return {node["nodeId"] for node in self.alive_nodes()}

    def alive_nodes(self) -> list[dict[str, Any]]:
        """What Ray's dashboard knows of each of them."""
        with urllib.request.urlopen(f"{self.dashboard}/nodes?view=summary", timeout=10) as answer:
            nodes = json.load(answer)["data"]["summary"]
        return [node["raylet"] for node in nodes if node["raylet"]["state"] == "ALIVE"]

    def end(self) -> None:
        for each in [*reversed(self.nodes), self.head]:
            if each.process.poll() is None:
                each.end()


@contextmanager
def cluster(
    *head_options: str, port: int | None = None, environment: Mapping[str, str] = ENVIRONMENT
) -> Iterator[Cluster]:
    """``environment``: of the head, and of what it starts. ``port``: of its address, a free one if not given."""
    free, dashboard, client, agent = free_ports(4)
    port = port or free
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the paths of Ray's sockets must stay below 107 bytes
    url = f"http://127.0.0.1:{dashboard}"
    head = Node(
        *("--head", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *head_options,
        environment=environment,
    )
    started = Cluster(f"127.0.0.1:{port}", url, head)
    try:
        wait_until_it_answers(f"{url}/api/gcs_healthz", head.process)
        head.node_id = started.joined_since(set())
        yield started
    finally:
        started.end()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_it_answers(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ray start ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {START_LIMIT_S} s")
