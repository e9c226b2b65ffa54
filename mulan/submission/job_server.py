"""Ray's job server, called with time limits: submit, look, stop, and follow a job's log."""

import asyncio
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from mulan.submission.attempts import MAY_SUCCEED, TERMINATED, AttemptOutcome, exit_code
from mulan.submission.errors import ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.package import Package
from mulan.submission.streams import TextStream, within

ANSWER_LIMIT_S = 30.0
UPLOAD_LIMIT_S = 600.0
STOP_WAIT_S = 60
"""Time in seconds that a stopped job has to end by itself before Ray kills it; Ray's default is 3."""
_NAMES_OF_OTHERS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class JobRequest:
    """A job as the server takes it."""

    entrypoint: str
    """The line that the server gives to a shell."""
    variables: Mapping[str, str]
    package: Package | None
    metadata: Mapping[str, str]


class JobServerClient:
    """The jobs of one cluster.

    Its methods raise ClusterUnreachable if the server does not answer or fails, NoSuchJob for an unknown job, and
    SubmissionError for what it refuses.
    """

    def __init__(self, url: str) -> None:
        """
        Args:
            url: Address of the job server.

        Raises:
            ClusterUnreachable, SubmissionError: See above.
        """
        for name in _NAMES_OF_OTHERS:  # Ray's client would prefer them to the given address
            os.environ.pop(name, None)
        for each in JobSubmissionClient.__mro__:  # they log each connection, between the lines of the job's log
            logging.getLogger(each.__module__).setLevel(logging.WARNING)
        self.url = url
        self._client = self._call(lambda: JobSubmissionClient(url))

    def submit(self, job_id: str, request: JobRequest) -> None:
        """Submits a job under an id; if the job exists because an earlier answer was lost, it is left as it is."""
        environment: dict[str, object] = {
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), **request.variables},
        }
        with tempfile.TemporaryDirectory() as folder:
            if request.package is not None:
                file = Path(folder, "package.zip")
                file.write_bytes(request.package.content)
                environment["working_dir"] = str(file)
            try:
                self._call(
                    lambda: self._client.submit_job(
                        entrypoint=request.entrypoint,
                        submission_id=job_id,
                        runtime_env=environment,
                        metadata=dict(request.metadata),
                    ),
                    limit_s=UPLOAD_LIMIT_S,
                )
            except (ClusterUnreachable, SubmissionError):
                if not self._has(job_id, request):
                    raise

    def _has(self, job_id: str, request: JobRequest) -> bool:
        try:
            metadata = self.details(job_id).metadata or {}
        except NoSuchJob:
            return False
        return request.metadata.items() <= metadata.items()  # and is not somebody else's job of that id

    def details(self, job_id: str) -> JobDetails:
        """Returns the state of a job."""
        return self._call(lambda: self._client.get_job_info(job_id))

    def jobs(self) -> list[JobDetails]:
        """Returns all submitted jobs that the server knows."""
        return [job for job in self._call(self._client.list_jobs) if job.submission_id]

    def stop(self, job_id: str) -> None:
        """Asks a job to stop."""
        self._call(lambda: self._client.stop_job(job_id))

    def log(self, job_id: str) -> TextStream:
        """Returns the log of a job from its beginning, which ends with the job or with the connection."""

        async def tail(put: Callable[[str], None]) -> None:
            async for text in self._client.tail_job_logs(job_id):
                put(text)

        return TextStream(lambda put: asyncio.run(tail(put)))

    def whole_log(self, job_id: str) -> str:
        """Returns the log of a job up to now."""
        return self._call(lambda: self._client.get_job_logs(job_id))

    def wait_for_end(self, job_id: str, limit_s: float) -> bool:
        """Waits for the end of a job, for at most a time; returns whether it has ended."""
        deadline = time.monotonic() + limit_s
        while not self.details(job_id).status.is_terminal():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _call(self, call: Callable[[], _Result], *, limit_s: float | None = None) -> _Result:
        try:
            return within(limit_s or ANSWER_LIMIT_S, call, what=f"the job server {self.url}")
        except AuthenticationError as error:
            reason = str(error).strip().splitlines()[0]
            raise SubmissionError(
                [f"{self.url} needs a token: {reason}; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here"]
            ) from error
        except (requests.RequestException, OSError) as error:
            raise ClusterUnreachable(f"the job server {self.url} cannot be reached: {_first_line(error)}") from error
        except RuntimeError as error:
            match = re.match(r"Request failed with status code (\d+)", str(error))
            code = int(match[1]) if match else 400
            if code == 404:
                raise NoSuchJob(_first_line(error)) from error
            if code >= 500 or code in (408, 429):
                raise ClusterUnreachable(f"the job server {self.url} failed: {_last_line(error)}") from error
            raise SubmissionError([f"the job server {self.url} refuses the job: {_last_line(error)}"]) from error


def outcome_of(details: JobDetails) -> AttemptOutcome:
    """Returns how a job that has ended did so."""
    if details.status == JobStatus.SUCCEEDED:
        return AttemptOutcome(0)
    if details.status == JobStatus.STOPPED:
        return AttemptOutcome(TERMINATED, "the job was stopped")
    if details.driver_exit_code is not None:
        return AttemptOutcome(exit_code(details.driver_exit_code))
    # the job's process left no code: its node is gone, or its working folder could not be set up
    return AttemptOutcome(
        MAY_SUCCEED, f"the job was lost: {details.message or details.error_type or 'no reason is known'}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: Exception) -> str:
    return ([type(error).__name__, *str(error).strip().splitlines()])[-1]
