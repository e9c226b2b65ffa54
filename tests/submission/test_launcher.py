"""Tests clusters of the launcher against a mock of EC2, and the forwarded port with real processes."""

import os
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import psutil
import pytest
from moto import mock_aws

from mulan.config.errors import USER_ERROR
from mulan.submission import launcher
from mulan.submission.errors import ClusterUnreachable, SubmissionError
from mulan.submission.launcher import cluster_name, forwarding, forwarding_command, free_port, head_of, start
from tests.test_architecture import ROOT

ANSWERS_ONCE = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
server.handle_request()
"""


def test_a_cluster_that_is_not_up_has_no_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))
    with mock_aws():
        assert head_of(ROOT / "cluster" / "launcher.yaml") is None


def test_a_cloud_that_cannot_be_asked_is_unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(file: str) -> str:
        raise PermissionError("no credentials")

    monkeypatch.setattr(launcher, "get_head_node_ip", refused)
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster_name: music\nprovider: {type: aws, region: us-west-2}\n")
    with pytest.raises(ClusterUnreachable, match="head of cluster music cannot be found"):
        head_of(file)


def test_missing_credentials_are_named_in_one_line_and_ray_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # the credentials of the machine are not asked for
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    file = tmp_path / "cluster.yaml"  # in a region of its own: Ray keeps its connections by region
    file.write_text("cluster_name: music\nprovider: {type: aws, region: eu-north-1}\n")
    with pytest.raises(SubmissionError, match="no credentials of the cloud were found: set AWS_ACCESS_KEY_ID") as error:
        head_of(file)
    assert len(str(error.value).splitlines()) == 1
    assert error.value.exit_code == USER_ERROR
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"])
def test_credentials_that_cannot_be_used_are_a_user_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def refused(file: str) -> str:
        raise type(name, (Exception,), {})("none")

    monkeypatch.setattr(launcher, "get_head_node_ip", refused)
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster_name: music\nprovider: {type: aws, region: us-west-2}\n")
    with pytest.raises(SubmissionError, match=f"no credentials of the cloud .*{name}: none"):
        head_of(file)


@pytest.mark.parametrize(
    ("provider", "fault"),
    [
        ("3", "provider must have the field type"),
        ("null", "provider must have the field type"),
        ("{type: [aws]}", "provider must have the field type"),
        ("{region: us-west-2}", "provider must have the field type"),
        ("{type: nope}", r"provider\.type nope: is unknown to Ray, which has .*aws.*gcp"),
        ("{type: aws}", "has no 'region', which Ray needs"),
        ("{type: external}", r"provider\.module must name"),
        ("{type: external, module: nowhere.Provider}", "not installed here: No module named 'nowhere'; install it"),
    ],
)
def test_faults_of_the_provider_are_those_of_the_user(tmp_path: Path, provider: str, fault: str) -> None:
    (tmp_path / "x.yaml").write_text(f"cluster_name: x\nprovider: {provider}")
    with pytest.raises(SubmissionError, match=fault):
        head_of(tmp_path / "x.yaml")


@pytest.mark.parametrize("text", ["[", "kind: RayJob", "cluster_name: 7\nprovider: {}"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(SubmissionError, match="--to "):
        cluster_name(tmp_path / "x.yaml")


def test_the_forwarding_command_is_one_of_ray() -> None:
    program, *words = forwarding_command(Path("my cluster.yaml"), 7000)
    assert Path(program).name == "ray"
    assert words == ["dashboard", "--port", "7000", "--remote-port", "8265", "my cluster.yaml"]


@pytest.mark.processes  # ``ray up`` is a process
def test_a_cluster_that_cannot_be_started_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster_name: music\nprovider: {type: nowhere}\n")
    with pytest.raises(ClusterUnreachable, match=r"ray up .*cluster\.yaml ended with exit code"):
        start(file)
    assert capfd.readouterr().out == ""  # standard output is for the log of the job


@pytest.mark.processes  # the forward is a process, which has to be started again when it ends, and ended
def test_a_forward_is_started_again_and_ends_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_RESTART_PAUSE_S", 0.1)
    port = free_port()
    children = set(psutil.Process().children())
    with forwarding([sys.executable, "-c", ANSWERS_ONCE, str(port)], port) as url:
        for _ in range(2):  # the process ends after each answer
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(url, timeout=5):
                        break
                except OSError:
                    time.sleep(0.05)
            else:
                pytest.fail("the forward was not started again")
    assert set(psutil.Process().children()) == children


@pytest.mark.processes  # as above
def test_a_forward_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "FORWARD_LIMIT_S", 1.0)
    port = free_port()
    with (
        pytest.raises(ClusterUnreachable, match="no ssh key"),
        forwarding([sys.executable, "-c", "print('no ssh key')"], port),
    ):
        pass
