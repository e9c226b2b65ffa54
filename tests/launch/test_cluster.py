"""Tests that errors of starting or joining Ray are one line with a remedy; Ray itself is not started."""

import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mulan.config.sections import ScaleConfig
from mulan.launch.cluster import ClusterFailed, ClusterRefused, connect, connection_error, end_started_ray, started_ray


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replaces Ray; its ``init`` raises ``fake_ray.error``, and records its arguments in ``fake_ray.calls``."""

    def init(**named: Any) -> None:
        fake.calls.append(named)
        if fake.error is not None:
            raise fake.error

    fake = SimpleNamespace(init=init, is_initialized=lambda: False, error=None, calls=[])
    importlib.import_module("mulan.private_ray.core")  # with the real Ray, also if this file is tested alone
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("mulan.launch.cluster._started", set())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


ERRORS_OF_STARTING = [
    (OSError("AF_UNIX path length cannot exceed 107 bytes: /tmp/aaa"), "RAY_TMPDIR to a folder with a shorter path"),
    (
        FileNotFoundError(2, "No such file or directory", "/proc/1/nohome"),
        "give this user write access to /proc/1/nohome",
    ),
    (PermissionError(13, "Permission denied", "/tmp/ray"), "give this user write access to /tmp/ray"),
    (RuntimeError("Version mismatch: the cluster has\n Ray 2.59"), "install the same versions of Python and Ray"),
]


@pytest.mark.parametrize(("error", "remedy"), ERRORS_OF_STARTING)
def test_errors_that_the_user_can_fix_are_refused_with_the_remedy(
    fake_ray: SimpleNamespace, error: Exception, remedy: str
) -> None:
    fake_ray.error = error
    with pytest.raises(ClusterRefused, match=remedy) as caught:
        connect(ScaleConfig())
    message = str(caught.value)
    assert message.startswith("Ray cannot be started on this machine: ")
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert not started_ray()


def test_errors_that_may_be_temporary_are_failures(fake_ray: SimpleNamespace) -> None:
    fake_ray.error = RuntimeError("The current node timed out during startup. " * 20)
    with pytest.raises(
        ClusterFailed, match=r"see its logs in RAY_TMPDIR or /tmp/ray, and run the same command"
    ) as caught:
        connect(ScaleConfig())
    assert caught.value.exit_code == 1
    assert len(str(caught.value)) < 500


def test_an_address_without_a_cluster_is_refused_at_once(
    fake_ray: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterRefused, match=r"the Ray cluster 127\.0\.0\.1:1 cannot be joined: .*check RAY_ADDRESS"):
        connect(ScaleConfig())
    assert fake_ray.calls == []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    fake_ray.error = ConnectionError("Could not find any running Ray instance.")
    with pytest.raises(ClusterRefused, match="the Ray cluster auto cannot be joined: Could not find any"):
        connect(ScaleConfig())
    assert "token" in str(connection_error(RuntimeError("Authentication failed: no token"), "head:6379"))


def test_a_local_cluster_is_started_whichever_was_started_before(fake_ray: SimpleNamespace) -> None:
    connect(ScaleConfig())
    (call,) = fake_ray.calls
    # by Ray's documentation; without it, a cluster of `ray start` is joined, also one that has been killed since
    assert call["address"] == "local"


@pytest.mark.parametrize("home", ["/proc/1/nohome", "{tmp_path}/file"])
def test_without_a_writable_home_folder_a_token_is_set_in_the_environment(
    home: str, fake_ray: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that monkeypatch undoes what connect sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", home.format(tmp_path=tmp_path))
    connect(ScaleConfig())
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert started_ray()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    connect(ScaleConfig())
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_processes_of_a_local_cluster_inherit_their_environment(
    fake_ray: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = importlib.import_module("mulan.private_ray.core").ENVIRONMENT
    monkeypatch.setenv(name, "1")
    connect(ScaleConfig())
    assert os.environ[name] == "0"
    assert "runtime_env" not in fake_ray.calls[0]  # for which each process would take longer to start


def test_a_ray_that_does_not_end_is_given_up(fake_ray: SimpleNamespace) -> None:
    gone = threading.Event()
    fake_ray.shutdown = gone.wait
    assert end_started_ray(0.01)  # none was started
    connect(ScaleConfig())
    assert not end_started_ray(0.01)
    gone.set()
    assert end_started_ray(60)


def test_sigterm_interrupts_a_job(fake_ray: SimpleNamespace) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fake_ray.init = lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        connect(ScaleConfig())
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
