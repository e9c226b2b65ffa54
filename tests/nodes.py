"""Ray nodes on this machine, each with its own processes, like the machines of a cluster."""

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

# As in the image: the package is importable, and nothing is downloaded. Variables of another Ray are removed.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    # training workers have a thread per CPU, and these nodes declare more CPUs than there are
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_AUTH_MODE": "disabled",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # at Ray's default of 15, training yields to the tests beside it
}


def free_ports(count: int) -> list[int]:
    """Returns different free ports of the loopback interface."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Node:
    """A node of a cluster."""

    def __init__(self, *options: str, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        """Runs ``ray start --block``, which ends its processes on SIGTERM."""
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
        """Returns the processes of the node that are still its descendants."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self) -> None:
        """Ends the node like an operator."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def cut_off(self) -> None:
        """Kills all processes at once, like the loss of a machine."""
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=60)


class Cluster:
    """A head without CPUs, and nodes that are added and removed."""

    def __init__(self, address: str, dashboard: str, head: Node) -> None:
        self.address, self.dashboard, self.head = address, dashboard, head
        self.nodes: list[Node] = []

    def add_node(self, *, cpus: int, labels: str = "pool=cpu") -> Node:
        (agent,) = free_ports(1)
        options = (f"--address={self.address}", f"--num-cpus={cpus}", f"--labels={labels}")
        before = self.alive()
        self.nodes.append(Node(*options, f"--dashboard-agent-listen-port={agent}"))
        self.nodes[-1].node_id = self.joined_since(before)  # nodes that start concurrently could use the same ports
        return self.nodes[-1]

    def joined_since(self, before: set[str]) -> str:
        """Waits for a new node, and returns its id."""
        deadline = time.monotonic() + START_LIMIT_S
        while not (new := self.alive() - before):
            assert time.monotonic() < deadline, f"a node did not join within {START_LIMIT_S} s"
            time.sleep(0.2)
        return new.pop()

    def alive(self) -> set[str]:
        """Returns the ids of the nodes that are alive according to Ray."""
        return {node["nodeId"] for node in self.alive_nodes()}

    def alive_nodes(self) -> list[dict[str, Any]]:
        """Returns what Ray's dashboard reports about each alive node."""
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
    """Starts a cluster that has only a head.

    Args:
        head_options: Further options of ``ray start`` for the head.
        port: Port of the head; a free one if not given.
        environment: Environment of the head and the processes that it starts.
    """
    free, dashboard, client, agent = free_ports(4)
    port = port or free
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the paths of Ray's sockets are limited to 107 bytes
    url = f"http://127.0.0.1:{dashboard}"
    head = Node(
        *("--head", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *head_options,
        environment=environment,
    )
    started = Cluster(f"127.0.0.1:{port}", url, head)
    try:
        wait_for_answer(f"{url}/api/gcs_healthz", head.process)
        head.node_id = started.joined_since(set())
        yield started
    finally:
        started.end()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_answer(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ray start ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {START_LIMIT_S} s")
