"""A job on Ray's job server from its submission to its end, whatever becomes of the connection meanwhile."""

import re
import time
from collections.abc import Callable
from contextlib import closing, suppress

from ray.job_submission import JobDetails

from mulan.submission.attempts import MAY_SUCCEED, AttemptOutcome
from mulan.submission.errors import ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.interrupts import Interrupts
from mulan.submission.job_server import STOP_WAIT_S, JobRequest, JobServerClient, outcome_of
from mulan.submission.streams import TextStream

UNREACHABLE_LIMIT_S = 600.0
"""Time without an answer of the cluster after which following a job is given up; the job may go on."""
LOOK_PERIOD_S = 5.0
QUIET_LIMIT_S = 300.0
"""Time without text after which the log is requested again, since a dead connection looks like a quiet job."""
_READ_S = 0.5
_RETRY_S = 2.0
_SAME_RUN = ("module", "storage", "run")
"""Metadata of jobs of which only one can run at a time."""


class LogPrinter:
    """Prints a log that is received in pieces, each connection from the beginning, without repetition."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._printed, self._received = write, 0, 0

    def begin(self) -> None:
        """Is called when a connection sends the log from its beginning."""
        self._received = 0

    def receive(self, text: str) -> None:
        """Prints the part of a text that has not been printed yet."""
        new = text[max(0, self._printed - self._received) :]
        self._received += len(text)
        if new:
            self._write(new)
            self._printed += len(new)


class RayJob:
    """A submitted job."""

    def __init__(
        self, server: JobServerClient, job_id: str, *, write: Callable[[str], None], interrupted: Interrupts
    ) -> None:
        """
        Args:
            server: The server that has the job.
            job_id: Its submission id.
            write: Prints text of the log.
            interrupted: Interruptions by the user, after which following ends.
        """
        self._server, self.job_id, self._interrupted = server, job_id, interrupted
        self._printer = LogPrinter(write)
        self._answered = 0.0

    def follow(self) -> AttemptOutcome | None:
        """Prints the log until the job has ended.

        Returns:
            How the job ended; None if the user has interrupted the command, and the job goes on.

        Raises:
            ClusterUnreachable: The cluster has not answered for ten minutes.
        """
        self._answered = time.monotonic()
        while not self._interrupted.stop_requested:
            try:
                with closing(self._server.log(self.job_id)) as log:
                    self._print(log)
                if self._interrupted.stop_requested:
                    return None
                details = self._look()
                if details.status.is_terminal():
                    self._print_rest()
                    return outcome_of(details)
            except NoSuchJob:
                return AttemptOutcome(MAY_SUCCEED, "the cluster's head was replaced, and has lost the job")
            except ClusterUnreachable as error:
                if time.monotonic() - self._answered > UNREACHABLE_LIMIT_S:
                    raise ClusterUnreachable(
                        f"{error}, for {UNREACHABLE_LIMIT_S:g} s. The job {self.job_id} may still run: the same "
                        "command follows it again"
                    ) from error
            self._interrupted.wait(_RETRY_S)
        return None

    def stop(self) -> bool:
        """Asks the job to stop, and prints its log until it has ended.

        Returns:
            Whether it has ended.
        """
        self._server.stop(self.job_id)
        self._printer.begin()
        deadline = time.monotonic() + STOP_WAIT_S + 2 * LOOK_PERIOD_S
        with closing(self._server.log(self.job_id)) as log:
            while not log.ended and time.monotonic() < deadline:
                self._printer.receive(log.read(_READ_S))
        return self._server.wait_for_end(self.job_id, max(LOOK_PERIOD_S, deadline - time.monotonic()))

    def _print(self, log: TextStream) -> None:
        """Prints a log until it ends, the user interrupts, or it has been quiet for too long.

        Raises:
            NoSuchJob, ClusterUnreachable: See :class:`mulan.submission.job_server.JobServerClient`.
        """
        self._printer.begin()
        looked = heard = time.monotonic()
        while not log.ended and not self._interrupted.stop_requested:
            text, now = log.read(_READ_S), time.monotonic()
            if text:
                self._printer.receive(text)
                heard = self._answered = now
            elif now - looked > LOOK_PERIOD_S:
                # a log that is neither ended nor silent may be that of a connection to a head that is gone
                self._look()
                looked = now
            if now - heard > QUIET_LIMIT_S:
                return

    def _look(self) -> JobDetails:
        details = self._server.details(self.job_id)
        self._answered = time.monotonic()
        return details

    def _print_rest(self) -> None:
        """Prints what a broken connection may have left out of the log of a job that has ended."""
        with suppress(ClusterUnreachable, NoSuchJob, SubmissionError):
            self._printer.begin()
            self._printer.receive(self._server.whole_log(self.job_id))


def next_job_id(server: JobServerClient, name: str) -> str:
    """Returns an id for a further attempt, which no job of the cluster has: ``NAME-1``, ``NAME-2``, ..."""
    numbers = [0]
    for job in server.jobs():
        match = re.fullmatch(rf"{re.escape(job_name(name))}-(\d{{1,9}})", str(job.submission_id))
        numbers += [int(match[1])] if match else []
    return f"{job_name(name)}-{max(numbers) + 1}"


def job_name(name: str) -> str:
    """Returns the name of a run as a part of ids, which are part of addresses."""
    return re.sub(r"[^A-Za-z0-9_.=-]", "-", name) or "job"


def running_job(server: JobServerClient, request: JobRequest) -> str | None:
    """Returns the id of the job with this request that is already running, which is followed instead of repeated.

    Raises:
        SubmissionError: The same module is running for the same run with another command; names the job.
    """
    for job in server.jobs():
        metadata = job.metadata or {}
        if job.status.is_terminal() or any(metadata.get(key) != request.metadata[key] for key in _SAME_RUN):
            continue
        if metadata.get("command") == request.metadata["command"]:
            return str(job.submission_id)
        raise SubmissionError(
            [
                f"{job.submission_id} is already running here, as another command of {metadata['run']}: "
                f"{metadata.get('command', job.entrypoint)}. "
                f"Stop it first: ray job stop --address {server.url} {job.submission_id}"
            ]
        )
    return None
