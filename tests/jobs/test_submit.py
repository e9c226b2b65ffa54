"""Tests jobs.submit: its arguments, and submissions to APIs in this process.

``tests/cluster/test_submit.py`` submits to a real cluster.
"""

import io
import json
import os
import signal
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from mulan.submission import kuberay, launcher, ray_job
from tests.cluster.kuberay import SCHEMA
from tests.jobs.called import Job, assert_refused
from tests.submission.job_api import job_api
from tests.submission.kubernetes_server import NAMESPACE, Attempt, kubernetes_server

TRAIN = ["--", "python", "-m", "jobs.train", "--recipe", "demo", "--name", "run1"]
KUBERAY = f"kuberay:{NAMESPACE}"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((ray_job, ("_RETRY_S", "_READ_S")), (kuberay, ("_LOOK_PERIOD_S", "_READ_S"))):
        for name in names:
            monkeypatch.setattr(module, name, 0.02)


def test_all_faults_are_listed_at_once(job: Job) -> None:
    refused = job("submit", "--to", "head", "--env", "1=hunter2", "--values", "nowhere.toml", "--working-dir", "no")
    assert_refused(refused, "4 errors", "--to head", "--env", "--values nowhere.toml", "no command is given")
    assert "hunter2" not in refused[2]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--to", "ray://head", "--print"], "--print is an option of --to kuberay:NAMESPACE"),
        (["--to", "ray://head", "--start"], "--start is an option of --to with a launcher file"),
        (["--to", KUBERAY, "--print", "--detach"], "--detach has no meaning"),
        (["--to", KUBERAY, "--retries", "-1"], "--retries -1: must be between 0 and 2147483647"),
        (["--to", "ray://head", "--retries", "9" * 400], "999: must be between 0 and 2147483647"),
        (["--to", KUBERAY, "--pause-s", "nan"], "--pause-s nan: must be a finite number"),
        (["--to", KUBERAY, "--max-package-mib", "501"], "must be between 0 and 500"),
        (["--to", KUBERAY, "--manifest", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--to", KUBERAY, "--working-dir", "nowhere"], "--working-dir nowhere: is not a folder"),
    ],
)
def test_unusable_options_are_refused(job: Job, arguments: list[str], named: str) -> None:
    assert_refused(job("submit", *arguments, *TRAIN), named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (TRAIN[1:], f"the command comes after --: jobs.submit --to TARGET [options] -- {' '.join(TRAIN[1:])}"),
        (["a", "s3://KEY:hunter2@bucket"], "-- a s3://***@bucket"),
        (["--dry-run", *TRAIN], "--dry-run is an option of the command, after --"),
        (["--foo", *TRAIN], "unknown options: --foo; those of the command come after --"),
    ],
)
def test_words_of_the_command_before_the_dashes_are_named(job: Job, words: list[str], named: str) -> None:
    code, out, err = job("submit", "--to", "ray://localhost", *words)
    assert (code, out) == (2, "")
    assert named in err.splitlines()[-1]
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["python", "-m", "jobs.trian"], "python -m jobs.trian: mulan has no such command; did you mean jobs.train?"),
        (["jobs.train"], "did you mean python -m jobs.train?"),
    ],
)
def test_a_misspelt_module_is_refused(job: Job, words: list[str], named: str) -> None:
    assert_refused(job("submit", "--to", KUBERAY, "--print", "--", *words, "--recipe", "demo"), named)


def test_the_rayjob_is_printed_and_nothing_is_submitted(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    Path("values.toml").write_text('image = "registry.example.com/other:2"\n[cpu]\nmax_pods = 2\n')
    code, out, err = job(
        *("submit", "--to", KUBERAY, "--values", "values.toml", "--env", "TOKEN=hunter2", "--retries", "7", "--print"),
        *TRAIN,
    )
    assert code == 0
    rayjob = yaml.safe_load(out)
    jsonschema.validate(rayjob, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert rayjob["spec"]["backoffLimit"] == 7
    assert "registry.example.com/other:2" in out
    assert "hunter2" not in out + err
    assert err == "submit  mulan-run1-variables, which the RayJob uses, would be created too\n"


def test_pods_in_different_zones_are_warned_of(job: Job) -> None:
    Path("values.toml").write_text('[cpu]\nnode_selector = {"topology.kubernetes.io/zone" = "us-west-2b"}\n')
    code, _, err = job("submit", "--to", KUBERAY, "--values", "values.toml", "--print", *TRAIN)
    assert code == 0
    assert err.startswith("submit  the pods are in different zones")


def test_the_log_goes_to_standard_output_and_the_exit_code_is_returned(job: Job) -> None:
    Path("my recipe.toml").write_text("text")
    Path(".env").write_text("secret")
    with job_api(scripts=[{"log": ["one\n", "two \N{SNOWMAN}\n"], "end": ("FAILED", 3)}]) as api:
        code, out, err = job(
            *("submit", "--to", api.url, "--working-dir", ".", "--env", "A=hunter2", "--"),
            *("python", "-m", "jobs.train", "--recipe", "my recipe.toml", "--name", "run1"),
        )
    assert (code, out) == (3, "one\ntwo \N{SNOWMAN}\n")
    assert err.splitlines() == [
        "submit  .env: may hold secrets and is left out; give it by --env or on the cluster",
        next(line for line in err.splitlines() if line.endswith("bytes: my recipe.toml")),
        f"submit  submitted run1-1 to {api.url}",
    ]
    (submitted,) = api.jobs.values()
    assert submitted.entrypoint.startswith("python -m jobs.train --recipe 'my recipe.toml' --name run1 --dry-run > ")
    assert submitted.runtime_env["env_vars"]["A"] == "hunter2"
    (package,) = api.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert archive.read("my recipe.toml") == b"text"


def test_without_the_check_the_command_runs_at_once(job: Job) -> None:
    with job_api() as api:
        assert job("submit", "--to", api.url, "--no-preflight", *TRAIN)[0] == 0
    assert [each.entrypoint for each in api.jobs.values()] == [f"exec {' '.join(TRAIN[1:])}"]


def test_a_detached_submission_returns_at_once(job: Job) -> None:
    with job_api(scripts=[{"waits_for_stop": True}]) as api:
        code, out, err = job("submit", "--to", api.url, "--detach", *TRAIN)
    assert (code, out) == (0, "")
    assert f"ray job logs --address {api.url} --follow run1-1" in err


def test_a_signal_stops_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with job_api(scripts=[{"waits_for_stop": True}]) as api:
        follow = ray_job.RayJob.follow

        def interrupted(self: ray_job.RayJob) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            return follow(self)

        monkeypatch.setattr(ray_job.RayJob, "follow", interrupted)
        code, _, err = job("submit", "--to", api.url, *TRAIN)
    assert code == 143
    assert [each.status for each in api.jobs.values()] == ["STOPPED"]
    assert "stopped run1-1; the same command resumes: python -m jobs.train" in err


def test_a_cluster_that_does_not_answer_may_do_so_later(job: Job) -> None:
    with job_api() as api:
        pass
    code, out, err = job("submit", "--to", api.url, *TRAIN)
    assert (code, out) == (1, "")
    assert f"error: the job server {api.url} cannot be reached" in err


def test_a_job_runs_on_kuberay(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    with kubernetes_server(tmp_path, attempts=[Attempt(["one", "two"], succeeded)]) as (server, config):
        monkeypatch.setenv("KUBECONFIG", config)
        code, out, _ = job("submit", "--to", KUBERAY, *TRAIN)
    assert (code, out) == (0, "one\ntwo\n")
    (rayjob,) = server.rayjobs.values()
    assert rayjob["spec"]["entrypoint"].startswith("python -m jobs.attempt --check-first jobs.train ")


def test_a_launcher_cluster_that_is_not_up_is_named(
    job: Job, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path_factory.mktemp("launcher") / "cluster.yaml"
    file.write_text("cluster_name: music\nprovider: {type: aws}\n")
    monkeypatch.setattr(launcher, "get_head_node_ip", lambda path: (_ for _ in ()).throw(RuntimeError("not found!")))
    assert_refused(job("submit", "--to", str(file), *TRAIN), "cluster music is not up: start it by --start")
