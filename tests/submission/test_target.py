"""Tests the forms of ``--to``."""

from pathlib import Path

import pytest

from mulan.submission.errors import SubmissionError
from mulan.submission.target import JobServer, KubeRay, Launcher, parsed_target


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ray://head", "http://head:8265"),
        ("ray://10.0.0.1:9000", "http://10.0.0.1:9000"),
        ("ray://[::1]", "http://[::1]:8265"),
        ("http://127.0.0.1:8265/", "http://127.0.0.1:8265"),
        ("https://ray.example.com", "https://ray.example.com"),
    ],
)
def test_addresses_of_job_servers(text: str, url: str) -> None:
    assert parsed_target(text) == JobServer(url)


def test_a_launcher_file_and_a_namespace(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster_name: x")
    assert parsed_target(str(file)) == Launcher(file)
    assert parsed_target("kuberay:team-a") == KubeRay("team-a")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ray://head:10001", "10001 is the port of Ray Client; that of the job server is 8265"),
        ("ray://", "must be ray://HOST"),
        ("http://head/api?x=1", "must be ray://HOST"),
        ("ftp://head", "must be ray://HOST"),
        ("kuberay:", "write kuberay:NAMESPACE"),
        ("kuberay:Team/../x", "write kuberay:NAMESPACE"),
        ("nowhere.yaml", "the file does not exist"),
        (f"{'x' * 300}.yaml", "the file does not exist"),
        ("head", "must be ray://HOST"),
    ],
)
def test_other_texts_are_refused(text: str, named: str) -> None:
    with pytest.raises(SubmissionError) as refused:
        parsed_target(text)
    assert f"--to {text}" in str(refused.value)
    assert named in str(refused.value)


@pytest.mark.parametrize("port", ["notaport", "0", "65536", "-1"])
def test_a_port_that_is_no_number_of_a_port_is_refused_with_its_host(port: str) -> None:
    with pytest.raises(SubmissionError) as refused:
        parsed_target(f"ray://head:{port}")
    fault = f"--to: the port of head, '{port}', must be a number from 1 to 65535; without one it is 8265"
    assert str(refused.value) == fault


@pytest.mark.parametrize("text", ["https://me:hunter2@head", "ray://me@head:x", "ray://me:hunter2/hunter2@head"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SubmissionError) as refused:
        parsed_target(text)
    assert "must not contain a user or password" in str(refused.value)
    assert "hunter2" not in str(refused.value)
