"""Tests the checks of a cluster before a job starts on it."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mulan.config.audio import AstTowerConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.launch import preflight as module
from mulan.launch.capacity import Capacity, Node
from mulan.launch.preflight import (
    ClusterUnfit,
    JobRequirements,
    check_room_to_evaluate,
    preflight,
    resource_problems,
    resource_warnings,
)
from mulan.launch.preflight import weights as weights_of
from mulan.launch.probing import Problem, node_name
from mulan.private_ray.core import HEAD_RESOURCE, TYPE_LABEL, UNKNOWN_NODE_TYPES, NodeType, NodeTypes
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.hub import AST_CHECKPOINT, TEXT_ENCODER

HEAD = Node("0", {HEAD_RESOURCE: 1.0}, {}, "10.0.0.1")
CPU = Node("1", {"CPU": 4.0}, {"pool": "cpu"}, "10.0.0.2")
GPU = Node("2", {"CPU": 14.0, "GPU": 1.0}, {TYPE_LABEL: "gpu", "pool": "gpu"}, "10.0.0.3")
GPUS = NodeType("gpu", {"CPU": 14.0, "GPU": 1.0}, {"pool": "gpu"}, 8)


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo_miniature", ["data.uri=/corpus", *settings])


ON_GPUS = ("scale.use_gpu=true", "scale.workers=2", "scale.cpus_per_worker=4")


def test_a_request_that_can_never_be_met_is_reported_with_the_capacity() -> None:
    (problem,) = resource_problems(recipe(*ON_GPUS), Capacity((HEAD, CPU)))
    assert problem.text.startswith(
        "2 workers of 1 GPU, 4 CPU can never run here: there is room for 0 (alive nodes: 1 without CPUs and "
        "GPUs, 1 with 4 CPU; there is no autoscaler); "
    )
    assert problem.permanent
    capped = NodeTypes((replace(GPUS, max_nodes=1),))
    assert len([*resource_problems(recipe(*ON_GPUS), Capacity((HEAD, CPU), capped))]) == 1


@pytest.mark.parametrize(
    ("settings", "cluster"),
    [
        (ON_GPUS, Capacity((HEAD,), NodeTypes((GPUS,)))),
        (ON_GPUS, Capacity((HEAD,), UNKNOWN_NODE_TYPES)),
        (("scale.workers=[2, 16]",), Capacity((HEAD, replace(CPU, resources={"CPU": 2.0})))),
    ],
)
def test_a_request_that_may_be_met_is_not_a_problem(settings: tuple[str, ...], cluster: Capacity) -> None:
    assert [*resource_problems(recipe(*settings), cluster)] == []


def test_an_evaluation_that_can_never_run_is_refused() -> None:
    on_gpu = ScaleConfig(use_gpu=True)
    with pytest.raises(ClusterUnfit, match=r"a GPU, .* 1 with 4 CPU; .*; add --no-use-gpu, or") as unfit:
        check_room_to_evaluate(on_gpu, Capacity((HEAD, CPU)))
    assert unfit.value.exit_code == 2
    with pytest.raises(ClusterUnfit, match="needs a CPU"):
        check_room_to_evaluate(ScaleConfig(), Capacity((HEAD,)))
    check_room_to_evaluate(ScaleConfig(), Capacity((HEAD, CPU)))
    for cluster in (Capacity((HEAD,), NodeTypes((GPUS,))), Capacity((HEAD,), UNKNOWN_NODE_TYPES)):
        check_room_to_evaluate(on_gpu, cluster)


def test_too_few_cpus_for_readers_cause_only_a_warning() -> None:
    scale = ScaleConfig(workers=1, cpus_per_worker=2, data_cpus=3)
    (warning,) = resource_warnings(scale, Capacity((HEAD, replace(CPU, labels={}))))
    assert warning.startswith(
        "3 CPUs are requested for reading data (scale.data_cpus), but there is never room for more than 2; "
    )
    assert not [*resource_warnings(scale, Capacity((HEAD, replace(CPU, resources={"CPU": 3.0}))))]
    (warning,) = resource_warnings(scale, Capacity((HEAD, GPU, replace(CPU, resources={"CPU": 1.0}))))
    assert "more than 1 on nodes with pool=cpu; " in warning
    assert not [*resource_warnings(scale, Capacity((HEAD,), UNKNOWN_NODE_TYPES))]


def test_each_node_is_checked_for_what_will_run_there() -> None:
    requirements = JobRequirements(
        recipe(*ON_GPUS), Capacity((HEAD, CPU, GPU)), "s3://b/run", "s3://b/mark", ("s3://b/index",)
    )
    checks = [list(requirements.for_node(node).checks()) for node in (HEAD, CPU, GPU)]
    assert checks == [
        ["versions"],
        ["versions", "corpus"],
        ["versions", "disk", "corpus", "storage", "text_tower.pretrained", "GPU"],
    ]
    assert requirements.for_node(GPU).gpus == 1
    assert "GPU" not in JobRequirements(recipe(), Capacity((GPU,)), "a", "b", ()).for_node(GPU).checks()


def test_pretrained_weights_of_a_recipe() -> None:
    text_only = recipe()
    assert [needed for _, needed in weights_of(text_only)] == [TEXT_ENCODER]
    both = text_only.replace(audio_tower=AstTowerConfig(pretrained="hub:MIT/ast"))
    assert [*weights_of(both)][1] == ("hub:MIT/ast", AST_CHECKPOINT)


def test_a_problem_of_several_nodes_is_reported_once() -> None:
    nodes = [node_name(replace(GPU, address=f"10.0.0.{number}")) for number in range(5)]
    problems = [
        Problem("", "no room"),
        *(Problem(node, "storage: no answer in 25 s", permanent=False) for node in nodes),
    ]
    error = ClusterUnfit(problems)
    assert str(error) == (
        "the cluster cannot run this job:\n"
        "  - no room\n"
        "  - gpu node 10.0.0.0, gpu node 10.0.0.1, gpu node 10.0.0.2 and 2 more: storage: no answer in 25 s\n"
        "Nothing was started."
    )
    assert (error.exit_code, ClusterUnfit(problems[1:]).exit_code) == (2, 1)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Replaces an existing cluster; ``problems`` and ``unchecked`` are the results of probing its nodes."""
    fake = SimpleNamespace(markers=[], problems=[], unchecked=[])

    def probe_nodes(nodes: Any, *, limit_s: float) -> Any:
        fake.markers = [required.marker_uri for _, required in nodes if required.marker_uri]
        assert all(filesystem.exists(marker) for marker in fake.markers)
        return fake.problems, fake.unchecked

    monkeypatch.setattr(module, "started_ray", lambda: False)
    monkeypatch.setattr(module, "capacity", lambda: Capacity((HEAD, CPU)))
    monkeypatch.setattr(module, "probe_nodes", probe_nodes)
    yield fake
    assert fake.markers
    assert not any(filesystem.exists(marker) for marker in fake.markers)


@pytest.mark.parametrize("exists", [True, False])
def test_a_marker_file_is_visible_while_nodes_are_probed(probes: SimpleNamespace, tmp_path: Path, exists: bool) -> None:
    run = Run.at(tmp_path / "runs", "a")
    if exists:
        Path(run.uri).mkdir(parents=True)
    probes.unchecked = ["cpu node could not be checked"]
    assert preflight(recipe(), run) == probes.unchecked
    assert Path(probes.markers[0]).parent == (Path(run.uri) if exists else tmp_path)
    assert Path(run.uri).exists() == exists


def test_all_problems_are_reported_together(probes: SimpleNamespace, tmp_path: Path) -> None:
    probes.problems = [Problem("cpu node 10.0.0.2", "corpus: not there")]
    with pytest.raises(ClusterUnfit) as unfit:
        preflight(recipe("scale.workers=2", "scale.cpus_per_worker=4"), Run.at(tmp_path, "a"))
    assert [problem.where for problem in unfit.value.problems] == ["", "cpu node 10.0.0.2"]


def test_only_resources_of_a_local_ray_are_checked(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "probe_nodes", lambda *_, **__: pytest.fail("a task was started"))
        assert preflight(recipe(), Run.at(tmp_path, "a")) == []
        with pytest.raises(ClusterUnfit, match="2 workers of 1 GPU, 4 CPU can never run here"):
            preflight(recipe(*ON_GPUS), Run.at(tmp_path, "a"))
    assert not [*tmp_path.iterdir()]
