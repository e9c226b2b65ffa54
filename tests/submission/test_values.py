"""Tests the values of KubeRay jobs: their files, and that every field is documented."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError
from mulan.submission.manifest import MANIFEST, load_manifest, made_manifest, text_of, zones_note
from mulan.submission.values import CpuValues, GpuValues, KubeRayValues, PodValues, load_values
from tests.test_architecture import ROOT

TOML = """
image = "registry.example.com/mulan:1"
[cpu]
max_pods = 4
node_selector = {pool = "cpu"}
"""
YAML = """
image: registry.example.com/mulan:1
cpu:
  max_pods: 4
  node_selector: {pool: cpu}
"""


@pytest.mark.parametrize(("name", "text"), [("values.toml", TOML), ("values.yaml", YAML)])
def test_toml_and_yaml_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    values = load_values(tmp_path / name)
    assert values == KubeRayValues(
        image="registry.example.com/mulan:1", cpu=CpuValues(max_pods=4, node_selector={"pool": "cpu"})
    )


def test_without_a_file_or_with_an_empty_one_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert load_values(None) == load_values(tmp_path / "empty.yaml") == KubeRayValues()


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "values.toml"
    file.write_text('imag = "x"\n[gpu]\nmemory_gb = 1\nmax_pods = 0\nresource = "gpu"\n')
    with pytest.raises(SubmissionError) as refused:
        load_values(file)
    assert len(refused.value.faults) == 4
    assert "did you mean image?" in str(refused.value)
    assert "did you mean memory_gib?" in str(refused.value)
    assert all(fault.startswith(f"--values {file}: ") for fault in refused.value.faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cpu: {cpus: true}", "cpu.cpus = True: input should be a valid integer"),
        ('head: {memory_gib: "16"}', "head.memory_gib = '16': input should be a valid integer"),
        ("gpu: {max_pods: 2.0}", "gpu.max_pods = 2.0: input should be a valid integer"),
        ("gpu: {max_pods_on_demand: false}", "gpu.max_pods_on_demand = False: input should be a valid integer"),
        ("cpu: {max_pods: 2147483648}", "cpu.max_pods = 2147483648: input should be less than or equal to 2147483647"),
        ("service_account: A B", "service_account = 'A B': a name in Kubernetes has"),
        ("storage_secret: ../x", "storage_secret = '../x': a name in Kubernetes has"),
        ('image_pull_secrets: [good, ""]', "image_pull_secrets.1 = '': a name in Kubernetes has"),
        ("gpu: {node_selector: {a b: c}}", "'a b' is not the key of a label"),
        ("gpu: {node_selector_on_demand: {a: c d}}", "'c d' is not the value of a label"),
        ("head: {node_selector: {a: true}}", "head.node_selector.a = True: input should be a valid string"),
        ("gpu: {resource: -x-/gpu}", "'-x-/gpu' is not the key of a label"),
    ],
)
def test_what_kubernetes_refuses_is_refused_by_its_field(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(SubmissionError, match=re.escape(fault)) as refused:
        load_values(tmp_path / "values.yaml")
    assert len(refused.value.faults) == 1


@pytest.mark.parametrize("text", ["a: [", "- a\n- b", "1: x", "\0"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(SubmissionError, match="--values "):
        load_values(tmp_path / "values.yaml")


def test_the_documented_values_put_all_pods_into_one_zone(tmp_path: Path) -> None:
    readme = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(# values\.toml\n.*?)```", readme, re.DOTALL)
    (tmp_path / "values.toml").write_text(example)
    values = load_values(tmp_path / "values.toml")
    assert values.gpu.max_pods_on_demand == 0
    command = Command(("python", "-m", "jobs.train", "--name", "run1"))
    made = made_manifest(load_manifest(MANIFEST), values, command, retries=0, check_first=False)
    zones = re.findall(r"topology\.kubernetes\.io/zone: (\S+)", text_of(made))
    assert zones == 5 * ["us-west-2b"]  # the submitter, the head, cpu, gpu and gpu-on-demand
    assert zones_note(made) == ""


@pytest.mark.parametrize("section", [KubeRayValues, PodValues, CpuValues, GpuValues])
def test_every_field_is_documented(section: type[BaseModel]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []
