"""Submissions to Ray's job server: attempts, retries, and what an interruption does."""

from collections.abc import Callable

from mulan.submission.attempts import MAY_SUCCEED, AttemptOutcome, run_attempts
from mulan.submission.errors import ClusterUnreachable, NoSuchJob
from mulan.submission.interrupts import Interrupts
from mulan.submission.job_server import JobRequest, JobServerClient
from mulan.submission.ray_job import RayJob, next_job_id, running_job
from mulan.submission.request import Submission


class RaySubmission:
    """A submission to the job server of a cluster."""

    def __init__(
        self,
        server: JobServerClient,
        submission: Submission,
        *,
        write: Callable[[str], None],
        say: Callable[[str], None],
        interrupted: Interrupts,
        later_url: str = "",
    ) -> None:
        """
        Args:
            server: The job server.
            submission: What is submitted.
            write: Prints text of the job's log.
            say: Prints a line about the submission.
            interrupted: Interruptions by the user.
            later_url: Address of the job server after this command has ended, if it is another one then.
        """
        self._server, self._submission = server, submission
        self._later_url = later_url or server.url
        self._write, self._say, self._interrupted = write, say, interrupted

    def run(self) -> int:
        """Submits the job, follows it to its end, and retries it; returns its exit code.

        After an interruption, the job is stopped.
        """
        code = run_attempts(
            self._attempt,
            retries=self._submission.retries,
            pause=lambda: self._interrupted.wait(self._submission.pause_s),
            say=self._say,
        )
        return self._interrupted.code or code

    def detach(self) -> None:
        """Submits the job, and says how to follow and stop it."""
        job = self._started(is_first=True)
        self._say(f"follow: ray job logs --address {self._later_url} --follow {job.job_id}")
        self._say(f"stop: ray job stop --address {self._later_url} {job.job_id}")

    def _attempt(self, number: int) -> AttemptOutcome:
        try:
            job = self._started(is_first=number == 0)
            outcome = job.follow()
            if outcome is None:
                return self._stop(job)
            return outcome
        except ClusterUnreachable as error:
            return AttemptOutcome(MAY_SUCCEED, str(error))

    def _started(self, *, is_first: bool) -> RayJob:
        """Returns the job of an attempt: a running one with the same command, or a new one."""
        submission, name = self._submission, self._submission.command.name
        request = JobRequest(
            submission.command.entrypoint(check_first=submission.check_first and is_first),
            submission.variables,
            submission.package,
            {**submission.command.subject, "command": str(submission.command)},
        )
        job_id = running_job(self._server, request)
        if job_id:
            self._say(f"{job_id} already runs this command on {self._server.url}")
        else:
            job_id = next_job_id(self._server, name)
            self._server.submit(job_id, request)
            self._say(f"submitted {job_id} to {self._server.url}")
        return RayJob(self._server, job_id, write=self._write, interrupted=self._interrupted)

    def _stop(self, job: RayJob) -> AttemptOutcome:
        self._say(f"interrupted: stopping {job.job_id}; interrupt again to leave it running")
        try:
            has_ended = job.stop()
        except (ClusterUnreachable, NoSuchJob) as error:
            self._say(f"{job.job_id} may still run: {error}")
        else:
            if has_ended:
                self._say(f"stopped {job.job_id}; the same command resumes: {self._submission.command}")
            else:
                self._say(f"{job.job_id} has not ended yet: ray job status --address {self._later_url} {job.job_id}")
        return AttemptOutcome(self._interrupted.code)
