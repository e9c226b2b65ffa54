"""Tests attempts and interruptions of submissions to a job server."""

import signal
from typing import Any

import pytest

from mulan.submission import ray_job
from mulan.submission.command import Command
from mulan.submission.interrupts import Interrupts
from mulan.submission.job_server import JobServerClient
from mulan.submission.ray_submission import RaySubmission
from mulan.submission.request import Submission
from tests.submission.job_api import JobApi, job_api

COMMAND = Command(("python", "-m", "jobs.train", "--name", "run1"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_RETRY_S", "_READ_S", "LOOK_PERIOD_S"):
        monkeypatch.setattr(ray_job, name, 0.02)


class Submitted:
    """A submission with what it prints."""

    def __init__(self, api: JobApi, **options: Any) -> None:
        self.printed: list[str] = []
        self.said: list[str] = []
        self.interrupted = Interrupts()
        defaults: dict[str, Any] = {"package": None, "variables": {}, "check_first": True, "retries": 3, "pause_s": 0.0}
        self.submission = RaySubmission(
            JobServerClient(api.url),
            Submission(COMMAND, **defaults | options),
            write=self.write,
            say=self.said.append,
            interrupted=self.interrupted,
        )

    def write(self, text: str) -> None:
        self.printed.append(text)
        if "interrupt" in text:
            self.interrupted.receive(signal.SIGTERM)


def test_a_failed_attempt_is_submitted_again_without_the_check() -> None:
    with job_api(scripts=[{"end": ("FAILED", 1)}, {"end": ("FAILED", None)}, {}]) as api:
        submitted = Submitted(api)
        assert submitted.submission.run() == 0
    checked = COMMAND.entrypoint(check_first=True)
    assert [job.entrypoint for job in api.jobs.values()] == [checked, *[COMMAND.entrypoint(check_first=False)] * 2]
    assert list(api.jobs) == ["run1-1", "run1-2", "run1-3"]
    assert any("the job was lost: the actor died" in line for line in submitted.said)


@pytest.mark.parametrize(("code", "jobs"), [(0, 1), (2, 1), (137, 1), (1, 2)])
def test_the_exit_code_is_that_of_the_job(code: int, jobs: int) -> None:
    with job_api(scripts=[{"end": ("FAILED" if code else "SUCCEEDED", code)}] * 2) as api:
        assert Submitted(api, retries=1).submission.run() == code
    assert len(api.jobs) == jobs


def test_an_interruption_stops_the_job_and_says_how_to_resume() -> None:
    with job_api(scripts=[{"log": ["interrupt\n"], "waits_for_stop": True}]) as api:
        submitted = Submitted(api)
        assert submitted.submission.run() == 143
    assert [job.status for job in api.jobs.values()] == ["STOPPED"]
    assert submitted.said[-1] == f"stopped run1-1; the same command resumes: {COMMAND}"


def test_an_interruption_while_the_job_is_lost_says_that_it_may_run() -> None:
    with job_api(scripts=[{"log": ["interrupt\n"], "waits_for_stop": True}]) as api:
        submitted = Submitted(api)
        write = submitted.write

        def lose(text: str) -> None:
            api.jobs.clear()
            write(text)

        submitted.submission._write = lose
        assert submitted.submission.run() == 143
    assert submitted.said[-1].startswith("run1-1 may still run: ")


def test_the_same_command_follows_the_job_that_is_running() -> None:
    with job_api(scripts=[{"log": ["hello\n"], "waits_for_stop": True}]) as api:
        first = Submitted(api)
        first.submission.detach()
        assert first.said == [
            f"submitted run1-1 to {api.url}",
            f"follow: ray job logs --address {api.url} --follow run1-1",
            f"stop: ray job stop --address {api.url} run1-1",
        ]
        api.jobs["run1-1"].waits_for_stop = False
        second = Submitted(api)
        assert second.submission.run() == 0
    assert second.printed == ["hello\n"]
    assert list(api.jobs) == ["run1-1"]
