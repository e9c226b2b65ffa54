"""Tests the calls of Ray's job server, with Ray's client, against an API with failures."""

import io
import socket
import zipfile
from pathlib import PurePosixPath

import pytest
from ray.job_submission import JobDetails, JobStatus

from mulan.submission import job_server
from mulan.submission.attempts import TERMINATED, AttemptOutcome
from mulan.submission.errors import ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.job_server import JobRequest, JobServerClient, outcome_of
from mulan.submission.package import Package
from tests.submission.job_api import job_api


def request(package: Package | None = None) -> JobRequest:
    return JobRequest("exec true", {"A": "1"}, package, {"run": "run1"})


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("recipe.toml", "text")
    return buffer.getvalue()


def test_a_job_is_submitted_with_its_variables_and_its_package_which_is_uploaded_once() -> None:
    package = Package(zipped(), (PurePosixPath("recipe.toml"),))
    with job_api() as api:
        client = JobServerClient(api.url)
        client.submit("run1-1", request(package))
        client.submit("run1-2", request(package))
    assert list(api.packages.values()) == [package.content]
    job = api.jobs["run1-1"]
    assert (job.entrypoint, job.metadata) == ("exec true", {"run": "run1"})
    assert job.runtime_env["env_vars"] == {"A": "1", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
    (name,) = api.packages
    assert job.runtime_env["working_dir"] == f"gcs://{name}"


def test_the_given_address_is_used_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with job_api() as api:
        JobServerClient(api.url).submit("run1-1", request())
    assert list(api.jobs) == ["run1-1"]


def test_a_lost_answer_does_not_submit_twice() -> None:
    with job_api(lost_answers=1) as api:
        client = JobServerClient(api.url)
        client.submit("run1-1", request())
        assert [job.submission_id for job in client.jobs()] == ["run1-1"]


def test_an_id_that_somebody_else_has_just_used_is_refused() -> None:
    with job_api() as api:
        client = JobServerClient(api.url)
        client.submit("run1-1", request())
        other = JobRequest("exec false", {}, None, {"run": "run1", "command": "false"})
        with pytest.raises(SubmissionError, match="already exists"):
            client.submit("run1-1", other)


def test_errors_say_whether_another_attempt_may_succeed() -> None:
    with job_api(failures=[503, 429, 401, 400]) as api:
        client = JobServerClient(api.url)
        for _ in range(2):
            with pytest.raises(ClusterUnreachable, match="failed on purpose"):
                client.details("run1-1")
        with pytest.raises(SubmissionError, match="RAY_AUTH_TOKEN"):
            client.details("run1-1")
        with pytest.raises(SubmissionError, match="failed on purpose"):
            client.details("run1-1")
        with pytest.raises(NoSuchJob):
            client.details("run1-1")


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(ClusterUnreachable, match=url):
            JobServerClient(url)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_server, "ANSWER_LIMIT_S", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ClusterUnreachable, match=r"did not answer within 0\.1 s"):
            JobServerClient(f"http://127.0.0.1:{silent.getsockname()[1]}")


def details(status: JobStatus, code: int | None = None, message: str | None = None) -> JobDetails:
    return JobDetails(type="SUBMISSION", entrypoint="", status=status, driver_exit_code=code, message=message)


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (details(JobStatus.SUCCEEDED, 0), AttemptOutcome(0)),
        (details(JobStatus.FAILED, 2), AttemptOutcome(2)),
        (details(JobStatus.FAILED, -9), AttemptOutcome(137)),
        (details(JobStatus.STOPPED), AttemptOutcome(TERMINATED, "the job was stopped")),
        (details(JobStatus.FAILED, None, "node died"), AttemptOutcome(1, "the job was lost: node died")),
    ],
)
def test_outcomes(ended: JobDetails, outcome: AttemptOutcome) -> None:
    assert outcome_of(ended) == outcome
