"""Tests that errors of starting or joining Ray are one line with a remedy; no Ray is started here."""

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mulan.config.sections import ScaleConfig
from mulan.launch.cluster import ClusterFailed, ClusterRefused, connect, connection_error, started_ray


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """In place of Ray; ``fake_ray.error`` is what its ``init`` raises."""

    def init(**named: Any) -> None:
        made.asked.append(named)
        if made.error is not None:
            raise made.error

    made = SimpleNamespace(init=init, is_initialized=lambda: False, error=None, asked=[])
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr("mulan.launch.cluster._started", set())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return made


STARTING = [
    (OSError("AF_UNIX path length cannot exceed 107 bytes: /tmp/aaa"), "RAY_TMPDIR to a folder with a shorter path"),
    (
        FileNotFoundError(2, "No such file or directory", "/proc/1/nohome"),
        "give this user write access to /proc/1/nohome",
    ),
    (PermissionError(13, "Permission denied", "/tmp/ray"), "give this user write access to /tmp/ray"),
    (RuntimeError("Version mismatch: the cluster has\n Ray 2.59"), "install the same versions of Python and Ray"),
]


@pytest.mark.parametrize(("error", "remedy"), STARTING)
def test_what_the_user_can_mend_is_refused(fake_ray: SimpleNamespace, error: Exception, remedy: str) -> None:
    fake_ray.error = error
    with pytest.raises(ClusterRefused, match=remedy) as caught:
        connect(ScaleConfig())
    told = str(caught.value)
    assert told.startswith("Ray cannot be started on this machine: ")
    assert "\n" not in told
    assert caught.value.exit_code == 2
    assert not started_ray()


def test_what_may_pass_is_a_failure(fake_ray: SimpleNamespace) -> None:
    fake_ray.error = RuntimeError("The current node timed out during startup. " * 20)
    with pytest.raises(
        ClusterFailed, match=r"see its logs in RAY_TMPDIR or /tmp/ray, and run the same command"
    ) as caught:
        connect(ScaleConfig())
    assert caught.value.exit_code == 1
    assert len(str(caught.value)) < 500


def test_a_cluster_that_is_not_there_is_named_at_once(
    fake_ray: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterRefused, match=r"the Ray cluster 127\.0\.0\.1:1 cannot be joined: .*check RAY_ADDRESS"):
        connect(ScaleConfig())
    assert fake_ray.asked == []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    fake_ray.error = ConnectionError("Could not find any running Ray instance.")
    with pytest.raises(ClusterRefused, match="the Ray cluster auto cannot be joined: Could not find any"):
        connect(ScaleConfig())
    assert "token" in str(connection_error(RuntimeError("Authentication failed: no token"), "head:6379"))


@pytest.mark.parametrize("home", ["/proc/1/nohome", "{tmp_path}/file"])
def test_without_a_home_a_token_is_made_for_this_ray_alone(
    home: str, fake_ray: SimpleNamespace, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what connect sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", home.format(tmp_path=tmp_path))
    connect(ScaleConfig())
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert started_ray()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    connect(ScaleConfig())
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_sigterm_interrupts_a_job(fake_ray: SimpleNamespace) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fake_ray.init = lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        connect(ScaleConfig())
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
