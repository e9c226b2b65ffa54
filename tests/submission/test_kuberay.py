"""Tests submissions to KubeRay against a server in this process, by the official client."""

import copy
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mulan.submission import kuberay
from mulan.submission.attempts import FINAL
from mulan.submission.command import Command
from mulan.submission.errors import ClusterUnreachable, SubmissionError
from mulan.submission.interrupts import Interrupts
from mulan.submission.kuberay import KubeRaySubmission, SubmitterLog
from mulan.submission.kubernetes_api import KubernetesApi
from mulan.submission.manifest import MANIFEST, load_manifest
from mulan.submission.package import Package
from mulan.submission.request import Submission
from mulan.submission.values import KubeRayValues
from tests.submission.kubernetes_server import NAMESPACE, Attempt, KubernetesServer, kubernetes_server

LOG = ["one", "two", "three"]
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
STOPPED = {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}
FAILED = {
    "jobDeploymentStatus": "Failed",
    "jobStatus": "FAILED",
    "reason": "AppFailed",
    "message": "Job entrypoint command failed with exit code 3, last available logs",
}
RETRYING = FAILED | {"jobDeploymentStatus": "Retrying", "failed": 1}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK_PERIOD_S", "_READ_S"):
        monkeypatch.setattr(kuberay, name, 0.02)


class Submitted:
    """A submission with what it prints."""

    def __init__(self, command: str = "run1", **options: Any) -> None:
        self.printed: list[str] = []
        self.said: list[str] = []
        self.interrupted = Interrupts()
        defaults: dict[str, Any] = {"package": None, "variables": {}, "check_first": True, "retries": 3, "pause_s": 0.0}
        words = Command(("python", "-m", "jobs.train", "--recipe", command, "--name", "run1"))
        self.submission = KubeRaySubmission(
            KubernetesApi(NAMESPACE),
            Submission(words, **defaults | options),
            load_manifest(MANIFEST),
            KubeRayValues(),
            write=self.write,
            say=self.said.append,
            interrupted=self.interrupted,
        )

    def write(self, text: str) -> None:
        self.printed.append(text)
        if "interrupt" in text:
            self.interrupted.receive(signal.SIGINT)


Serve = Callable[..., KubernetesServer]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Serve:
    """Returns a function that serves the API until the end of the test."""

    def start(*attempts: Attempt, **state: Any) -> KubernetesServer:
        context = kubernetes_server(tmp_path, attempts=list(attempts), **state)
        server, config = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        monkeypatch.setenv("KUBECONFIG", config)
        return server

    return start


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (Attempt(LOG, SUCCEEDED), 0),
        (Attempt(LOG, FAILED), 3),
        (Attempt([*LOG, f"{FINAL[2]} Stopping this job"], STOPPED), 2),
        (Attempt([*LOG, f"{FINAL[3]} Stopping this job"], STOPPED), 3),
        (Attempt(LOG, STOPPED), 143),
        (Attempt(LOG, {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}), 1),
        (Attempt(LOG, {"jobDeploymentStatus": "ValidationFailed", "message": "no head"}), 2),
    ],
)
def test_the_log_is_printed_and_the_exit_code_returned(serve: Serve, attempt: Attempt, code: int) -> None:
    server = serve(attempt)
    submitted = Submitted()
    assert submitted.submission.run() == code
    assert submitted.printed == [f"{line}\n" for line in attempt.log]
    assert server.deleted == []


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_broken_connection_repeats_and_loses_no_line(serve: Serve, lines: int) -> None:
    serve(Attempt(LOG, SUCCEEDED, breaks_after=lines))
    submitted = Submitted()
    assert submitted.submission.run() == 0
    assert submitted.printed == [f"{line}\n" for line in LOG]


def test_further_attempts_of_kuberay_are_followed(serve: Serve) -> None:
    serve(Attempt(LOG, RETRYING), Attempt(["resumed"], SUCCEEDED))
    submitted = Submitted()
    assert submitted.submission.run() == 0
    assert submitted.printed == [f"{line}\n" for line in [*LOG, "resumed"]]
    assert any(line.startswith("attempt 1 failed: AppFailed; Job entrypoint command failed") for line in submitted.said)


def test_failures_of_the_api_are_waited_for(serve: Serve) -> None:
    server = serve(Attempt(LOG, SUCCEEDED))
    submitted = Submitted()
    submitted.submission.detach()
    server.failures += [500, 503]
    with pytest.raises(ClusterUnreachable):
        Submitted().submission.run()  # which jobs exist is asked before anything else
    assert submitted.submission._follow() is not None


def test_an_api_that_stays_away_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuberay, "UNREACHABLE_LIMIT_S", 0.1)
    server = serve(Attempt(LOG, SUCCEEDED))
    submitted = Submitted()
    submitted.submission.detach()
    server.failures += [500] * 1000
    with pytest.raises(ClusterUnreachable, match="the same command follows rayjob mulan-run1 again"):
        submitted.submission._follow()


def test_a_failure_after_a_long_log_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of silence begins with the failure, and not with the log before it."""
    monkeypatch.setattr(kuberay, "UNREACHABLE_LIMIT_S", 0.1)
    serve(Attempt(LOG, SUCCEEDED, breaks_after=1, breaks_after_s=0.3, fails_then=[503]))
    submitted = Submitted()
    assert submitted.submission.run() == 0
    assert submitted.printed == [f"{line}\n" for line in LOG]


def test_an_interruption_deletes_what_was_created_and_says_so(serve: Serve) -> None:
    server = serve(Attempt(["interrupt"], {}, waits=True))
    submitted = Submitted(package=Package(b"zip", ()), variables={"TOKEN": "hunter2"})
    assert submitted.submission.run() == 130
    assert (server.rayjobs, server.config_maps, server.secrets) == ({}, {}, {})
    assert submitted.said[-1].startswith(
        "deleted rayjob mulan-run1, its cluster, configmap mulan-run1-package, secret mulan-run1-variables in "
        "namespace music; the run is kept, and the same command resumes it: python -m jobs.train"
    )
    assert "hunter2" not in "".join(submitted.said)


PACKED = {"package": Package(b"zip", ()), "variables": {"A": "1"}}


@pytest.mark.parametrize("what", ["refuses", "refuses_objects"])
def test_what_is_refused_leaves_nothing_behind(serve: Serve, what: str) -> None:
    server = serve(**{what: True})
    with pytest.raises(SubmissionError, match="no permission"):
        Submitted(**PACKED).submission.run()
    assert (server.rayjobs, server.config_maps, server.secrets) == ({}, {}, {})


def test_a_second_command_takes_nothing_from_the_first(serve: Serve) -> None:
    """Both have found that there is no RayJob yet."""
    server = serve(Attempt(LOG, SUCCEEDED))
    first, second = Submitted(**PACKED), Submitted("other", package=Package(b"other", ()))
    first.submission._create()
    before = copy.deepcopy((server.rayjobs, server.config_maps, server.secrets))
    with pytest.raises(SubmissionError, match="already exists"):
        second.submission._create()
    assert (server.rayjobs, server.config_maps, server.secrets) == before


def test_objects_of_a_job_whose_command_was_killed_are_created_later(serve: Serve) -> None:
    server = serve(Attempt(LOG, SUCCEEDED))
    killed = Submitted(**PACKED)
    killed.submission._api.create_rayjob(killed.submission._manifest)
    assert Submitted(**PACKED).submission.run() == 0
    assert ([*server.config_maps], [*server.secrets]) == (["mulan-run1-package"], ["mulan-run1-variables"])


def test_a_job_that_is_being_deleted_is_waited_for(serve: Serve) -> None:
    server = serve(Attempt(LOG, SUCCEEDED))
    Submitted().submission.detach()
    server.rayjobs["mulan-run1"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    submitted = Submitted()
    threading.Timer(0.3, server.rayjobs.clear).start()
    assert submitted.submission.run() == 0
    assert submitted.said[0] == (
        "waiting for the deletion of rayjob mulan-run1 in namespace music, which has been asked for"
    )
    assert submitted.printed == [f"{line}\n" for line in LOG]


def test_the_same_command_follows_the_job_that_is_running(serve: Serve) -> None:
    server = serve(Attempt(LOG, SUCCEEDED))
    first = Submitted()
    first.submission.detach()
    assert first.said[1:] == [
        "follow: kubectl logs --namespace music --follow job/mulan-run1",
        "stop: kubectl delete --namespace music rayjob mulan-run1",
    ]
    with pytest.raises(SubmissionError, match="already running another command"):
        Submitted("other").submission.run()
    assert Submitted().submission.run() == 0
    assert server.deleted == []


def test_a_job_that_has_ended_is_replaced(serve: Serve) -> None:
    server = serve(Attempt(LOG, FAILED))
    assert Submitted().submission.run() == 3
    server.attempts[:] = [Attempt(["resumed"], SUCCEEDED)]
    submitted = Submitted()
    assert submitted.submission.run() == 0
    assert submitted.printed == ["resumed\n"]
    assert server.deleted == ["mulan-run1"]


def test_a_job_that_somebody_deletes_ends_the_submission(serve: Serve) -> None:
    server = serve(Attempt(["going"], {}, waits=True))
    submitted = Submitted()
    write = submitted.write

    def delete(text: str) -> None:
        write(text)
        server.rayjobs.clear()

    submitted.submission._log = SubmitterLog(delete)
    assert submitted.submission.run() == 143
    assert submitted.said[-1] == "rayjob mulan-run1 was deleted"
