"""Tests ``ray job submit`` of ``jobs.train`` to a cluster like that of cluster/: a head without CPUs, and a node."""

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from mulan.recipes.miniature import MINILM
from mulan.runs.run import Run
from tests import nodes
from tests.nodes import ENVIRONMENT, RAY, ROOT

pytestmark = pytest.mark.processes

REFUSED = ["--recipe", "none", "--data", "/nowhere", "--storage", "/nowhere", "--name", "refused"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Returns the address of the cluster's job server."""
    with nodes.cluster() as started:
        started.add_node(cpus=4)
        yield started.dashboard


def submit(cluster: str, *command: str) -> subprocess.CompletedProcess:
    return execute([RAY, "job", "submit", "--address", cluster, "--", *command])


def execute(command: Sequence[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400
    )


@pytest.mark.timeout(900)
@pytest.mark.long(group="jobs")
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


@pytest.mark.long(group="jobs")
def test_a_wrong_setting_fails_the_job_with_its_message(cluster: str, tiny_corpus: str, run_folder: str) -> None:
    failed = submit(
        *(cluster, "python", "-m", "jobs.train", "--recipe", "demo_miniature", "--data", tiny_corpus),
        *("--storage", run_folder, "--name", "refused", "--set", "train.stepz=2"),
    )
    assert failed.returncode == 1
    assert "did you mean steps?" in failed.stdout
    assert not Path(run_folder, "refused").exists()


@pytest.mark.long(group="jobs")
def test_an_attempt_with_a_user_error_is_a_stopped_job(cluster: str) -> None:
    """KubeRay does not retry stopped jobs, and to Ray's client they are successful."""
    attempt = submit(cluster, "python", "-m", "jobs.attempt", "jobs.train", *REFUSED)
    assert attempt.returncode == 0, attempt.stdout
    assert "no such recipe" in attempt.stdout
    with urllib.request.urlopen(f"{cluster}/api/jobs/", timeout=60) as answer:
        (status,) = [job["status"] for job in json.load(answer) if "jobs.attempt" in job["entrypoint"]]
    assert status == "STOPPED"


@pytest.mark.long(group="jobs")
def test_a_job_that_can_never_run_is_refused(cluster: str, tiny_corpus: str, run_folder: str) -> None:
    failed = submit(
        *(cluster, "python", "-m", "jobs.train", "--recipe", "demo_miniature", "--data", tiny_corpus),
        *("--storage", run_folder, "--name", "impossible"),
        *("--set", "scale.workers=2", "--set", "scale.use_gpu=true", "--set", "scale.data_cpus=9"),
    )
    assert failed.returncode == 1
    assert "exit code 2" in failed.stdout
    assert "2 workers of 1 GPU, 1 CPU can never run here: there is room for 0 (alive nodes: " in failed.stdout
    assert not Path(run_folder).exists()


def words_of_rayjob() -> list[str]:
    rayjob = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text(encoding="utf-8"))
    return rayjob["spec"]["entrypoint"].replace("-m jobs.attempt ", "-m ").replace("RUN", "run1").split()


def words_of_readme() -> list[str]:
    readme = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (submitted,) = re.findall(r"(?m)^ray job submit .* -- (python -m jobs\.train .*)$", readme)
    return submitted.split()


def test_readme_and_rayjob_have_the_same_command() -> None:
    assert words_of_readme() == words_of_rayjob()


def test_the_documented_command_is_a_valid_one(tiny_corpus: str, run_folder: str) -> None:
    program, *words = words_of_readme()
    assert program == "python"
    # argparse uses the last of repeated options: corpus, storage and weights of the example do not exist
    existing = ["--data", tiny_corpus, "--storage", run_folder, "--set", f"text_tower.pretrained={MINILM}", "--dry-run"]
    assert {"--data", "--storage", "--name"} <= set(words)
    checked = execute([sys.executable, *words, *existing])
    assert checked.returncode == 0, checked.stdout
    recipe = tomllib.loads(checked.stdout)
    assert recipe["scale"]["workers"] == 8
    assert recipe["scale"]["use_gpu"] is True
