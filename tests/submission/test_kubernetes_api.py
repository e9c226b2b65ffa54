"""Tests the calls of Kubernetes' API by the official client against a server in this process."""

import base64
from pathlib import Path

import pytest

from mulan.submission.errors import AlreadyExists, ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.kubernetes_api import KubernetesApi
from mulan.submission.manifest import MANIFEST, job_name, load_manifest
from tests.submission.kubernetes_server import NAMESPACE, Attempt, kubernetes_server

LOG = ["one", "two"]


def rayjob() -> dict:
    manifest = load_manifest(MANIFEST)
    manifest["metadata"]["name"] = job_name("run1")
    return manifest


def test_objects_are_those_of_the_rayjob_and_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kubernetes_server(tmp_path) as (server, config):
        monkeypatch.setenv("KUBECONFIG", config)
        api = KubernetesApi(NAMESPACE)
        created = api.create_rayjob(rayjob())
        for content, replace in ((b"old", True), (b"new", True), (b"left out", False)):
            api.put_package("package", content, created, replace=replace)
        api.put_variables("variables", {"TOKEN": "x"}, created, replace=False)
        assert base64.b64decode(server.config_maps["package"]["binaryData"]["package.zip"]) == b"new"
        assert server.secrets["variables"]["stringData"] == {"TOKEN": "x"}
        for each in (server.config_maps["package"], server.secrets["variables"]):
            (owner,) = each["metadata"]["ownerReferences"]
            assert owner == {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "mulan-run1", "uid": "uid-0"}
        assert api.rayjob("mulan-run1")["spec"] == rayjob()["spec"]
        with pytest.raises(AlreadyExists, match="already exists"):
            api.create_rayjob(rayjob())
        api.delete_rayjob("mulan-run1")
        assert (server.rayjobs, server.config_maps, server.secrets) == ({}, {}, {})
        with pytest.raises(NoSuchJob):
            api.delete_rayjob("mulan-run1")


def test_errors_say_whether_another_attempt_may_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kubernetes_server(tmp_path, failures=[500, 429, 403], refuses=True) as (_, config):
        monkeypatch.setenv("KUBECONFIG", config)
        api = KubernetesApi(NAMESPACE)
        for expected in (ClusterUnreachable, ClusterUnreachable, SubmissionError):
            with pytest.raises(expected, match="failed on purpose"):
                api.rayjob("mulan-run1")
        with pytest.raises(NoSuchJob):
            api.rayjob("mulan-run1")
        with pytest.raises(SubmissionError, match="no permission"):
            api.create_rayjob(rayjob())
        with pytest.raises(SubmissionError, match="namespace elsewhere does not exist, or KubeRay is not installed"):
            KubernetesApi("elsewhere").create_rayjob(rayjob())


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kubernetes_server(tmp_path) as (_, config):
        monkeypatch.setenv("KUBECONFIG", config)
        api = KubernetesApi(NAMESPACE)
    with pytest.raises(ClusterUnreachable, match="cannot be reached"):
        api.rayjob("mulan-run1")


@pytest.mark.parametrize("context", ["", "elsewhere"])
def test_without_a_configuration_or_its_context_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with kubernetes_server(tmp_path) as (_, config):
        monkeypatch.setenv("KUBECONFIG", config if context else str(tmp_path / "nowhere"))
        with pytest.raises(SubmissionError, match="Kubernetes is not configured here"):
            KubernetesApi(NAMESPACE, context=context)


def test_pods_and_their_logs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kubernetes_server(tmp_path, attempts=[Attempt(LOG, {"jobDeploymentStatus": "Complete"})]) as (_, config):
        monkeypatch.setenv("KUBECONFIG", config)
        api = KubernetesApi(NAMESPACE)
        api.create_rayjob(rayjob())
        assert api.submitter_pods("mulan-run1") == [{"name": "mulan-run1-0", "uid": "pod-0", "phase": "Running"}]
        log, lines = api.log("mulan-run1-0"), []
        while not log.ended:
            lines.append(log.read(30))
    assert [line.partition(" ")[2] for line in lines if line] == ["one\n", "two\n"]
