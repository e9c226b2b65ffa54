"""Tests that a job is followed to its end whatever happens to the connection."""

import signal
import threading
from typing import Any

import pytest

from mulan.submission import ray_job
from mulan.submission.attempts import AttemptOutcome
from mulan.submission.errors import ClusterUnreachable, SubmissionError
from mulan.submission.interrupts import Interrupts
from mulan.submission.job_server import JobRequest, JobServerClient
from mulan.submission.ray_job import LogPrinter, RayJob, job_name, next_job_id, running_job
from tests.submission.job_api import JobApi, job_api

LOG = ["one\n", "two\n", "three\n", "four\n"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_RETRY_S", "_READ_S", "LOOK_PERIOD_S"):
        monkeypatch.setattr(ray_job, name, 0.02)


def request(command: str = "train", **subject: str) -> JobRequest:
    metadata = {"module": "jobs.train", "storage": "s3://a", "run": "run1", "command": command}
    return JobRequest("exec train", {}, None, metadata | subject)


def follow(api: JobApi, interrupted: Interrupts | None = None) -> tuple[AttemptOutcome | None, str]:
    """Submits and follows a job; returns how it ended, and what was printed."""
    printed: list[str] = []
    server = JobServerClient(api.url)
    server.submit("run1-1", request())
    job = RayJob(server, "run1-1", write=printed.append, interrupted=interrupted or Interrupts())
    return job.follow(), "".join(printed)


def test_the_log_is_printed_and_the_exit_code_returned() -> None:
    with job_api(scripts=[{"log": LOG, "end": ("FAILED", 3)}]) as api:
        assert follow(api) == (AttemptOutcome(3), "".join(LOG))


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_broken_connection_repeats_and_loses_no_text(pieces: int) -> None:
    with job_api(scripts=[{"log": LOG, "breaks_after": pieces}]) as api:
        assert follow(api) == (AttemptOutcome(0), "".join(LOG))


def test_text_that_a_broken_connection_left_out_is_printed_at_the_end() -> None:
    """The job ends while nobody is connected to its log."""
    with job_api(scripts=[{"log": LOG, "breaks_after": 1, "status": "SUCCEEDED"}]) as api:
        assert follow(api) == (AttemptOutcome(0), "".join(LOG))


def test_failures_of_the_server_are_waited_for() -> None:
    with job_api(scripts=[{"log": LOG}], failures=[500, 503]) as api:
        assert follow(api) == (AttemptOutcome(0), "".join(LOG))


def test_a_job_that_the_server_has_lost_may_be_submitted_again() -> None:
    with job_api(scripts=[{"log": LOG, "waits_for_stop": True}], forgets=True) as api:
        outcome, _ = follow(api)
    assert outcome is not None
    assert outcome.may_retry
    assert "lost the job" in outcome.reason


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "UNREACHABLE_LIMIT_S", 0.1)
    with job_api() as api:
        server = JobServerClient(api.url)
        server.submit("run1-1", request())
    job = RayJob(server, "run1-1", write=str, interrupted=Interrupts())
    with pytest.raises(ClusterUnreachable, match="may still run"):
        job.follow()


def test_an_interruption_ends_following_and_stop_prints_the_rest() -> None:
    printed: list[str] = []
    interrupted = Interrupts()
    with job_api(scripts=[{"log": LOG, "waits_for_stop": True}]) as api:
        server = JobServerClient(api.url)
        server.submit("run1-1", request())

        def write(text: str) -> None:
            printed.append(text)
            if text == LOG[-1]:
                interrupted.receive(signal.SIGINT)

        job = RayJob(server, "run1-1", write=write, interrupted=interrupted)
        limit = threading.Timer(60, interrupted.receive, [signal.SIGINT])
        limit.start()
        assert job.follow() is None
        limit.cancel()
        assert api.jobs["run1-1"].status == "RUNNING"
        api.jobs["run1-1"].log.append("saved a checkpoint\n")
        assert job.stop()
        assert api.jobs["run1-1"].status == "STOPPED"
    assert "".join(printed) == "".join([*LOG, "saved a checkpoint\n"])


def test_pieces_of_any_size_are_printed_once() -> None:
    printed: list[str] = []
    printer = LogPrinter(printed.append)
    for pieces in (["ab", "cd"], ["a", "bcde"], ["abcdef"], ["abc"], ["abcdefg"]):
        printer.begin()
        for piece in pieces:
            printer.receive(piece)
    assert "".join(printed) == "abcdefg"


def test_ids_are_new_and_safe_in_addresses() -> None:
    assert job_name("a/../b?c#d é") == "a-..-b-c-d--"
    with job_api() as api:
        server = JobServerClient(api.url)
        assert next_job_id(server, "run1") == "run1-1"
        for used in ("run1-1", "run1-9", "run10-20", "run1-x"):
            server.submit(used, request())
        assert next_job_id(server, "run1") == "run1-10"


@pytest.mark.parametrize("script", [{"waits_for_stop": True}, {"status": "SUCCEEDED"}])
def test_a_running_job_is_found_by_its_command(script: dict[str, Any]) -> None:
    with job_api(scripts=[script]) as api:
        server = JobServerClient(api.url)
        server.submit("run1-1", request())
        if script.get("status"):
            assert running_job(server, request("other")) is None
            return
        assert running_job(server, request()) == "run1-1"
        for other in ({"run": "run2"}, {"storage": "s3://b"}, {"module": "jobs.evaluate"}):
            assert running_job(server, request("other", **other)) is None
        with pytest.raises(SubmissionError, match="run1-1 is already running here, as another command of run1: train"):
            running_job(server, request("other"))
