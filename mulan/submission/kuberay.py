"""Submissions to KubeRay: a RayJob is created, followed by the log of its submitter, and deleted on interruption."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from mulan.config.errors import USER_ERROR, MulanError
from mulan.submission.attempts import FINAL, MAY_SUCCEED, TERMINATED, AttemptOutcome
from mulan.submission.errors import ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.interrupts import Interrupts
from mulan.submission.kubernetes_api import KubernetesApi
from mulan.submission.manifest import Manifest, exit_code_in, rayjob_of
from mulan.submission.request import Submission
from mulan.submission.values import KubeRayValues

UNREACHABLE_LIMIT_S = 600.0
DELETION_LIMIT_S = 120.0
_LOOK_PERIOD_S = 3.0
_READ_S = 0.5
_ENDED = ("Complete", "Failed", "ValidationFailed")


class SubmitterLog:
    """Prints the logs of the pods that submit a job, each line once although connections break and begin again."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._pod = self._last = self._printed_until = ""
        self.final_code: int | None = None
        """The exit code of the job if ``jobs.attempt`` has said that there is no other attempt after it."""

    def begin(self, pod: str) -> None:
        """Is called when the log of a pod, by its uid, is sent from its beginning."""
        if pod != self._pod:
            self._pod, self._last = pod, ""
        self._printed_until = self._last

    def receive(self, line: str) -> None:
        """Prints a line without the time before it, unless an earlier connection has sent it."""
        stamp, _, text = line.partition(" ")
        if stamp <= self._printed_until:
            return
        self._last = stamp
        self.final_code = next((code for code, said in FINAL.items() if text.startswith(said)), self.final_code)
        self._write(text if text.endswith("\n") else f"{text}\n")


class KubeRaySubmission:
    """A submission to a namespace of a Kubernetes cluster with KubeRay."""

    def __init__(
        self,
        api: KubernetesApi,
        submission: Submission,
        base: Manifest,
        values: KubeRayValues,
        *,
        write: Callable[[str], None],
        say: Callable[[str], None],
        interrupted: Interrupts,
    ) -> None:
        """
        Args:
            api: The namespace.
            submission: What is submitted.
            base: The RayJob to start from (:func:`mulan.submission.manifest.load_manifest`).
            values: What differs from it.
            write: Prints lines of the job's log.
            say: Prints a line about the submission.
            interrupted: Interruptions by the user.
        """
        self._api, self._submission = api, submission
        self._manifest, self.package, self.secret = rayjob_of(submission, base, values)
        self.name = str(self._manifest["metadata"]["name"])
        self._log = SubmitterLog(write)
        self._read: set[str] = set()
        """Uids of the pods whose whole logs have been printed."""
        self._say, self._interrupted = say, interrupted

    def run(self) -> int:
        """Creates the RayJob, follows it to its end, and returns the exit code of its job.

        KubeRay retries the job. After an interruption, the RayJob is deleted, with its cluster.
        """
        if not self._is_running():
            self._create()
        outcome = self._follow()
        if outcome is None:
            self._delete()
            return self._interrupted.code
        if outcome.reason:
            self._say(outcome.reason)
        return outcome.code

    def detach(self) -> None:
        """Creates the RayJob, and says how to follow and delete it."""
        if not self._is_running():
            self._create()
        place = f"--namespace {self._api.namespace}"
        self._say(f"follow: kubectl logs {place} --follow job/{self.name}")
        self._say(f"stop: kubectl delete {place} rayjob {self.name}")

    def _is_running(self) -> bool:
        """Returns whether the job of the same command exists and runs; deletes one that has ended.

        Raises:
            SubmissionError: A RayJob of this name with another command has not ended.
        """
        try:
            existing = self._api.rayjob(self.name)
        except NoSuchJob:
            return False
        where = f"rayjob {self.name} in namespace {self._api.namespace}"
        is_leaving = "deletionTimestamp" in existing["metadata"]
        if is_leaving or existing.get("status", {}).get("jobDeploymentStatus") in _ENDED:
            if is_leaving:
                self._say(f"waiting for the deletion of {where}, which has been asked for")
            else:
                self._say(f"deleting {where}, which has ended; the run is kept")
                self._api.delete_rayjob(self.name)
            if not self._wait_until_gone():
                raise ClusterUnreachable(f"{where} was not deleted within {DELETION_LIMIT_S:g} s")
            return False
        if existing["spec"].get("entrypoint") != self._manifest["spec"]["entrypoint"]:
            raise SubmissionError([f"{where} is already running another command: {existing['spec'].get('entrypoint')}"])
        self._put_objects(existing, replace=False)  # a command that was killed may have created the RayJob alone
        self._say(f"{where} already runs this command")
        return True

    def _create(self) -> None:
        """Creates the RayJob, which only one command can do, and then the objects that its pods wait for."""
        created = self._api.create_rayjob(self._manifest)
        try:
            self._put_objects(created, replace=True)
        except Exception:
            with suppress(MulanError):
                self._api.delete_rayjob(self.name)
            raise
        self._say(f"created rayjob {self.name} in namespace {self._api.namespace}; its cluster takes minutes to start")

    def _put_objects(self, rayjob: Manifest, *, replace: bool) -> None:
        if self._submission.package is not None:
            self._api.put_package(self.package, self._submission.package.content, rayjob, replace=replace)
        if self._submission.variables:
            self._api.put_variables(self.secret, self._submission.variables, rayjob, replace=replace)

    def _follow(self) -> AttemptOutcome | None:
        """Prints the logs until the RayJob has ended; returns None after an interruption."""
        failing_since, failed, state = None, 0, ""
        while not self._interrupted.stop_requested:
            try:
                status = self._api.rayjob(self.name).get("status", {})
                failing_since = None
                if status.get("failed", 0) > failed:
                    failed = status["failed"]
                    self._say(f"attempt {failed} failed{_because(status)}")
                if status.get("jobDeploymentStatus", state) != state:
                    state = status["jobDeploymentStatus"]
                    self._say(f"rayjob {self.name} is {state}")
                self._print_newest()
                if state in _ENDED:
                    return self._outcome(status)
            except NoSuchJob:
                return AttemptOutcome(TERMINATED, f"rayjob {self.name} was deleted")
            except ClusterUnreachable as error:
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > UNREACHABLE_LIMIT_S:
                    raise ClusterUnreachable(f"{error}; the same command follows rayjob {self.name} again") from error
            self._interrupted.wait(_LOOK_PERIOD_S)
        return None

    def _print_newest(self) -> None:
        """Prints the log of the newest submitter until it ends or breaks."""
        pods = [pod for pod in self._api.submitter_pods(self.name) if pod["phase"] != "Pending"]
        if not pods or pods[-1]["uid"] in self._read:
            return
        newest = pods[-1]
        self._log.begin(newest["uid"])
        with closing(self._api.log(newest["name"])) as log:
            while not log.ended and not self._interrupted.stop_requested:
                if line := log.read(_READ_S):
                    self._log.receive(line)
            if log.ended and log.error is None and newest["phase"] != "Running":
                self._read.add(newest["uid"])

    def _outcome(self, status: dict[str, Any]) -> AttemptOutcome:
        state, job = status["jobDeploymentStatus"], status.get("jobStatus", "")
        if state == "ValidationFailed":
            return AttemptOutcome(USER_ERROR, f"KubeRay refuses rayjob {self.name}{_because(status)}")
        if job == "SUCCEEDED":
            return AttemptOutcome(0)
        if job == "STOPPED":
            code = self._log.final_code
            return AttemptOutcome(TERMINATED, "the job was stopped") if code is None else AttemptOutcome(code)
        code = exit_code_in(status.get("message", "")) if job == "FAILED" else MAY_SUCCEED
        return AttemptOutcome(code, f"rayjob {self.name} has failed{_because(status)}")

    def _delete(self) -> None:
        self._say(f"interrupted: deleting rayjob {self.name}; interrupt again to leave it")
        try:
            self._api.delete_rayjob(self.name)
            gone = self._wait_until_gone()
        except NoSuchJob:
            gone = True
        except ClusterUnreachable as error:
            self._say(f"rayjob {self.name} may still exist: {error}")
            return
        objects = [f"rayjob {self.name}", "its cluster"]
        objects += [f"configmap {self.package}"] if self.package else []
        objects += [f"secret {self.secret}"] if self.secret else []
        done = "deleted" if gone else f"asked for the deletion, which takes longer than {DELETION_LIMIT_S:g} s, of"
        self._say(
            f"{done} {', '.join(objects)} in namespace {self._api.namespace}; the run is kept, and the same command "
            f"resumes it: {self._submission.command}"
        )

    def _wait_until_gone(self) -> bool:
        deadline = time.monotonic() + DELETION_LIMIT_S
        while time.monotonic() < deadline:
            try:
                self._api.rayjob(self.name)
            except NoSuchJob:
                return True
            time.sleep(_READ_S)
        return False


def _because(status: dict[str, Any]) -> str:
    lines = str(status.get("message", "")).strip().splitlines()
    reasons = [text for text in (status.get("reason", ""), lines[0] if lines else "") if text]
    return f": {'; '.join(reasons)}" if reasons else ""
