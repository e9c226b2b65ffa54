"""Tests jobs.serve: refusals, and a server that survives slow clients, killed replicas and missing files."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from mulan.search.building import add_to_index
from tests.jobs.called import Job, assert_refused
from tests.nodes import ENVIRONMENT, cluster, free_ports
from tests.search.planted import planted_vectors, write_planted
from tests.serving.collection import HOSTILE, TestCollection, make_collection

_START_S = 120.0
_SLOW_CLIENTS = 200


def test_what_cannot_be_served_is_refused(
    job: Job, tmp_path_factory: pytest.TempPathFactory, model_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("planted")
    index = str(folder / "index")
    add_to_index(index, write_planted(folder / "embeddings", planted_vectors(6)))
    assert_refused(job("serve", "--index", "none"), "there is no index in", "jobs.index")
    assert_refused(job("serve", "--index", index), "/models/planted")
    assert_refused(job("serve", "--index", index, "--model", model_uri), "vectors of /models/planted", model_uri)
    assert_refused(job("serve", "--index", index, "--min-replicas", "3", "--max-replicas", "2"), "--min-replicas 3")
    assert_refused(job("serve", "--index", index, "--host", "192.0.2.1"), "cannot listen on 192.0.2.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_refused(job("serve", "--index", index, "--port", port), f"cannot listen on 127.0.0.1, port {port}")
    own = make_collection(tmp_path_factory.mktemp("own"), model_uri, ids=["a"], seconds=1.0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    wanted = ("--use-gpu", "--min-replicas", "2", "--max-replicas", "2")
    assert_refused(job("serve", "--index", own.index_uri, *wanted), "GPUs are needed: 2; this machine has 1")
    monkeypatch.setenv("MULAN_SEARCH_TOKEN", "short")
    assert_refused(job("serve", "--index", index), "MULAN_SEARCH_TOKEN must have at least 8")


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    port: int
    collection: TestCollection

    def get(self, path: str, *, content: bytes | None = None, timeout_s: float = 60.0) -> tuple[int, bytes]:
        """Returns status and content; 0 if the connection was lost."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=content)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def search(self, text: str, *, timeout_s: float = 60.0) -> list[str]:
        status, content = self.get(f"/api/search?q={quote(text)}&k=12", timeout_s=timeout_s)
        assert status == 200, content
        return [hit["recording_id"] for hit in json.loads(content)["hits"]]

    def wait_for(self, status: int, path: str = "/api/search?q=x") -> set[int]:
        """Waits until a status is answered, and returns the others."""
        seen, end = set(), time.monotonic() + _START_S
        while (got := self.get(path)[0]) != status:
            seen.add(got)
            assert time.monotonic() < end, seen
            time.sleep(0.2)
        return seen

    def replicas(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in children if "ServeReplica" in " ".join(each.cmdline())]


@contextmanager
def serving(collection: TestCollection, **variables: str) -> Iterator[Server]:
    """Starts a server with further environment variables, and ends it like an operator."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jobs.serve", "--index", collection.index_uri, "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MULAN_SEARCH_TOKEN")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=inherited | variables
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"search: http://127.0.0.1:{port}/  (API: /docs; Ctrl+C ends it)\n"
        yield Server(process, port, collection)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        assert "interrupted; the same command starts it again" in process.stdout.read()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    model = shutil.copytree(model_uri, folder / "model")
    ids = [HOSTILE, "a%2Fb", *(f"tone-{number:02d}" for number in range(10))]
    collection = make_collection(folder, str(model), ids=ids, seconds=20.0)
    with serving(collection) as started:
        yield started


of_server = pytest.mark.long(group="jobs")  # Ray Serve's proxy and replicas, which do not exist in this process


@of_server
def test_many_requests_at_once_are_answered_as_each_alone(server: Server) -> None:
    texts = [f"text {number}" for number in range(40)]
    alone = [server.search(text) for text in texts[:5]]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(server.search, texts))
    assert together[:5] == alone
    assert all(len(found) == 12 for found in together)


@of_server
@pytest.mark.parametrize("name", [HOSTILE, "a%2Fb", "tone-04"])
def test_audio_of_any_id_is_streamed(server: Server, name: str) -> None:
    assert server.get(f"/audio/{quote(name, safe='')}") == (200, server.collection.audio[name])


@of_server
def test_a_sound_that_cannot_be_decoded_is_refused_and_others_are_found(server: Server) -> None:
    content = server.collection.audio["tone-04"]
    status, answer = server.get("/api/search?k=1", content=content[: len(content) // 2])
    assert (status, "cannot be decoded" in json.loads(answer)["detail"]) == (422, True)
    status, answer = server.get("/api/search?k=1", content=content)
    assert json.loads(answer)["hits"][0]["recording_id"] == "tone-04"


@of_server
def test_slow_clients_keep_nobody_waiting(server: Server) -> None:
    with ExitStack() as stack:
        clients = []
        for _ in range(_SLOW_CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.sendall(b"GET /audio/tone-04 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(client)
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"  # and reads nothing more
        assert len(server.search("piano", timeout_s=30)) == 12


@of_server
def test_a_killed_replica_is_replaced_and_says_why_it_cannot_answer(server: Server) -> None:
    before = server.search("piano")
    model = Path(server.collection.model_uri)
    model.rename(model.with_name("away"))
    assert server.search("piano") == before  # the model is in memory
    for replica in server.replicas():
        replica.kill()
    seen = server.wait_for(503)
    assert seen <= {0, 200, 500, 503}
    end = time.monotonic() + _START_S
    while str(model) not in (answer := server.get("/api/search?q=x")[1].decode()):
        assert time.monotonic() < end, answer
        time.sleep(0.2)
    assert server.get("/")[0] == 503  # the page says it too
    model.with_name("away").rename(model)
    server.wait_for(200)
    assert server.search("piano") == before


@of_server
def test_a_server_on_a_cluster_is_the_only_one_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, model_uri: str
) -> None:
    own = make_collection(tmp_path_factory.mktemp("on a cluster"), model_uri, ids=["a", "b"], seconds=1.0)
    with cluster() as nodes:
        nodes.add_node(cpus=2)
        variables = ENVIRONMENT | {"RAY_ADDRESS": nodes.address}
        for _ in range(2):  # also after another one has ended
            with serving(own, **variables) as server:
                server.wait_for(200)
                command = [sys.executable, "-m", "jobs.serve", "--index", own.index_uri, "--port", str(server.port + 1)]
                second = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=_START_S)
                assert second.returncode == 2, second.stderr
                assert "this Ray cluster runs Ray Serve already" in second.stderr
                assert server.get("/healthz")[0] == 200
            assert server.get("/healthz")[0] == 0
