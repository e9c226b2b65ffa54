"""`ray job submit` of `jobs.train` to a cluster of the shape of cluster/: a head without work, and a worker node."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from mulan.training.run import Run

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
START_LIMIT_S = 120

# As in the image: the package can be imported, and nothing is fetched. Other Rays on this machine are none of ours.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
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


@contextmanager
def node(*options: str) -> Iterator[subprocess.Popen]:
    """A Ray node of this machine. `ray start --block` ends the processes that it started when it is told to end."""
    process = subprocess.Popen(
        [
            *(RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"),
            *("--object-store-memory=150000000", "--min-worker-port=0", "--max-worker-port=0"),
            *options,
        ],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of the cluster's job server."""
    port, dashboard, client, head_agent, worker_agent = free_ports(5)
    address = f"http://127.0.0.1:{dashboard}"
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the paths of Ray's sockets must stay below 107 bytes
    head_options = (
        *("--head", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={head_agent}"),
    )
    worker_options = (
        *(f"--address=127.0.0.1:{port}", "--num-cpus=4", "--labels=pool=cpu"),
        f"--dashboard-agent-listen-port={worker_agent}",
    )
    try:
        with node(*head_options) as head:
            wait_until_it_answers(f"{address}/api/gcs_healthz", head)
            with node(*worker_options):
                yield address
    finally:
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


def submit(cluster: str, *command: str) -> subprocess.CompletedProcess:
    return execute([RAY, "job", "submit", "--address", cluster, "--", *command])


def execute(command: Sequence[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400
    )


@pytest.mark.timeout(900)
def test_a_submitted_training_job_runs_to_its_end(cluster: str, tiny_corpus: str, run_folder: str) -> None:
    done = submit(
        *(cluster, "python", "-m", "jobs.train", "--recipe", "demo_miniature", "--data", tiny_corpus),
        *("--storage", run_folder, "--name", "submitted"),
        *("--set", "train.steps=2", "--set", "train.validation_micro_batches=0"),
    )
    assert done.returncode == 0, done.stdout
    run = Run.at(run_folder, "submitted")
    assert [line["step"] for line in run.metrics()] == [1, 2]
    assert Path(run.model_uri, "config.json").exists()


def test_a_wrong_setting_fails_the_job_with_its_message(cluster: str, tiny_corpus: str, run_folder: str) -> None:
    failed = submit(
        *(cluster, "python", "-m", "jobs.train", "--recipe", "demo_miniature", "--data", tiny_corpus),
        *("--storage", run_folder, "--name", "refused", "--set", "train.stepz=2"),
    )
    assert failed.returncode == 1
    assert "did you mean steps?" in failed.stdout
    assert not Path(run_folder, "refused").exists()


def commands() -> dict[str, str]:
    """The commands of cluster/ that train, by where they stand."""
    rayjob = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text(encoding="utf-8"))
    readme = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (submitted,) = re.findall(r"(?m)^ray job submit .* -- (python -m jobs\.train .*)$", readme)
    return {"rayjob.yaml": rayjob["spec"]["entrypoint"], "README.md": submitted}


@pytest.mark.parametrize("file", ["rayjob.yaml", "README.md"])
def test_the_documented_command_is_a_valid_one(file: str, tiny_corpus: str, run_folder: str) -> None:
    program, *words = commands()[file].split()
    assert program == "python"
    # argparse takes the last of a repeated option: the corpus and the storage of the example are not there
    here = ["--data", tiny_corpus, "--storage", run_folder, "--dry-run"]
    assert {"--data", "--storage", "--name"} <= set(words)
    checked = execute([sys.executable, *words, *here])
    assert checked.returncode == 0, checked.stdout
    recipe = tomllib.loads(checked.stdout)
    assert recipe["scale"]["workers"] == 8
    assert recipe["scale"]["use_gpu"] is True
