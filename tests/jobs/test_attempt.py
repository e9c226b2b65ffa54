"""Tests that an attempt ends with its job's code, except for codes 2 and 3, after which Ray stops the job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mulan.config.errors import STOPPED as ASKED_TO_STOP
from mulan.config.errors import USER_ERROR
from tests.nodes import ROOT

pytestmark = pytest.mark.processes

STOPPED = 143
JOB = """
import signal, sys, time
if sys.argv[1] == "wait":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    print("waiting", flush=True)
    time.sleep(60)
checks, runs = (sys.argv[1].split("-") * 2)[:2]
print("checks" if "--dry-run" in sys.argv else "runs", file=sys.stderr, flush=True)
if "--dry-run" in sys.argv:
    print("a recipe")
sys.exit(int(checks if "--dry-run" in sys.argv else runs))
"""
RAY_CLIENT = f"""#!{sys.executable}
import os, signal, sys
print("called:", *sys.argv[1:], flush=True)
os.kill(os.getppid(), signal.SIGTERM)
"""
"""A fake ``ray job stop``, which sends SIGTERM to the job as Ray does."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Returns an environment with a job that ends with a given code or waits, and with the fake client of Ray."""
    (tmp_path / "ends.py").write_text(JOB)
    (tmp_path / "ray").write_text(RAY_CLIENT)
    (tmp_path / "ray").chmod(0o755)
    paths = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | paths


def attempt(environment: dict[str, str], argument: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.attempt", "ends", argument], env=environment, stdout=subprocess.PIPE, text=True
    )


def submitted(environment: dict[str, str]) -> dict[str, str]:
    """Returns the environment that Ray gives to the entrypoint of a job."""
    return environment | {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"metadata": {"job_submission_id": "run1-abc"}})}


@pytest.mark.parametrize("code", [0, 1, 130])
def test_other_codes_are_passed_on(environment: dict[str, str], code: int) -> None:
    process = attempt(submitted(environment), str(code))
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "")


@pytest.mark.parametrize("code", [USER_ERROR, ASKED_TO_STOP])
def test_a_job_that_is_not_to_be_retried_is_stopped_by_ray(environment: dict[str, str], code: int) -> None:
    process = attempt(submitted(environment), str(code))
    printed, _ = process.communicate(timeout=60)
    assert "called: job stop --no-wait run1-abc" in printed
    assert process.returncode < 0  # killed by a signal: to Ray, every nonzero exit is a failure


def test_code_2_is_passed_on_outside_ray_jobs(environment: dict[str, str]) -> None:
    process = attempt(environment, str(USER_ERROR))
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (USER_ERROR, "")


def test_a_stopped_attempt_waits_for_its_job(environment: dict[str, str]) -> None:
    process = attempt(submitted(environment), "wait")
    assert process.stdout and process.stdout.readline() == "waiting\n"
    process.terminate()  # Ray signals all processes of a job; here the job itself has not received it yet
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    (job,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(job), 15)
    assert process.wait(timeout=60) == STOPPED


@pytest.mark.parametrize(
    ("codes", "code", "ran"), [("0-0", 0, ["checks", "runs"]), ("0-3", 3, ["checks", "runs"]), ("1-0", 1, ["checks"])]
)
def test_a_checked_job_runs_only_if_the_check_passes(
    environment: dict[str, str], codes: str, code: int, ran: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.attempt", "--check-first", "ends", codes],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.split()) == (code, "", ran)


def test_a_refused_check_is_a_user_error(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.attempt", "--check-first", "ends", f"{USER_ERROR}-0"],
        env=submitted(environment),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode < 0
    assert done.stdout.startswith("exit code 2: another attempt would fail in the same way.")


@pytest.mark.parametrize(
    ("words", "said"), [(["jobs.trian"], "No module named jobs.trian"), ([], "give the module of a job")]
)
def test_a_module_that_does_not_exist_is_a_user_error(environment: dict[str, str], words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.attempt", "--check-first", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (USER_ERROR, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: jobs.attempt: {said}")
