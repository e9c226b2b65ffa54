"""Tests jobs that are submitted to a cluster like that of cluster/, a head without CPUs and a node: by ``jobs.submit``,
and by ``ray job submit``, as KubeRay does."""

import json
import re
import signal
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
from mulan.submission.command import Command
from mulan.submission.package import packed
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


PROGRAM = """
import os, pathlib, signal, sys, time
text, marker, *words = sys.argv[1:]
print(pathlib.Path(text).read_text(), os.environ["GREETING"], *words, sep="|", flush=True)
if marker == "wait":
    def stopped(number, frame):
        print("saved a checkpoint", flush=True)
        sys.exit(143)
    signal.signal(signal.SIGTERM, stopped)
    print("waiting", flush=True)
    time.sleep(300)
if not os.path.exists(marker):
    pathlib.Path(marker).touch()
    sys.exit(1)
"""
"""Prints a packed file, a variable and its words; fails at its first attempt, or waits until it is stopped."""
AWKWARD = ["it's", '$HOME "q"', "a  b", "*", "\\", ""]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Returns a folder with the program and a file in a folder."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "packed.txt").write_text("packed")
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def follow(cluster: str, folder: Path, *command: str) -> subprocess.Popen:
    """Runs jobs.submit in an environment that names another cluster, which must not matter."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "jobs.submit", "--to", cluster.replace("http://", "ray://"), "--pause-s", "0"),
            *("--working-dir", str(folder), "--env", "GREETING=hello", "--", *command),
        ],
        env=ENVIRONMENT | {"RAY_ADDRESS": "http://127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long(group="jobs")
def test_a_failed_attempt_is_submitted_again_and_its_log_followed(cluster: str, project: Path) -> None:
    command = ["python", "program.py", "texts/packed.txt", str(project / "marker"), *AWKWARD]
    process = follow(cluster, project, *command)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    printed = [line for line in out.splitlines() if line.startswith("packed|")]
    assert printed == ["|".join(["packed", "hello", *AWKWARD])] * 2
    assert "the job ended with exit code 1; submitting the same command again" in err
    assert "hello" not in err


@pytest.mark.long(group="jobs")
def test_the_exit_code_of_a_refused_job_is_returned(cluster: str, project: Path) -> None:
    process = follow(cluster, project, "python", "-m", "jobs.train", *REFUSED)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert out.count("no such recipe") == 1  # it was refused by the check, and not run


@pytest.mark.long(group="jobs")
def test_an_interruption_lets_the_job_end_cleanly(cluster: str, project: Path) -> None:
    process = follow(cluster, project, "python", "program.py", "texts/packed.txt", "wait")
    assert process.stdout is not None
    for line in process.stdout:
        if line == "waiting\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "saved a checkpoint\n" in out
    assert "the same command resumes: python program.py texts/packed.txt wait" in err


@pytest.mark.long(group="jobs")
def test_ray_unpacks_a_package_from_a_file_as_it_was_packed(
    cluster: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Kubernetes the package is a file in every pod, and may have a single folder, which Ray would not keep."""
    monkeypatch.chdir(project)
    package, _ = packed(Command(("cat", "texts/packed.txt")), folder=None, max_mib=1)
    assert package is not None
    (project / "package.zip").write_bytes(package.content)
    environment = json.dumps({"working_dir": f"file://{project}/package.zip"})
    words = ["--runtime-env-json", environment, "--", "cat", "texts/packed.txt"]
    done = execute([RAY, "job", "submit", "--address", cluster, *words])
    assert done.returncode == 0, done.stdout
    assert "packed" in done.stdout


def words_of_rayjob() -> list[str]:
    rayjob = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text(encoding="utf-8"))
    return rayjob["spec"]["entrypoint"].replace("-m jobs.attempt ", "-m ").replace("RUN", "run1").split()


def words_of_readme() -> list[str]:
    readme = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"(?m)^python -m jobs\.submit .* -- +(python -m jobs\.train +--recipe .*)$", readme)
    to_launcher, to_kuberay = (command.split() for command in commands)
    assert to_launcher == to_kuberay
    return to_launcher


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
