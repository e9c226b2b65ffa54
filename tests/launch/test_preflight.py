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


def test_a_request_that_can_never_be_met_is_told_with_what_there_is() -> None:
    (fault,) = resource_problems(recipe(*ON_GPUS), Capacity((HEAD, CPU)))
    assert fault.text.startswith(
        "2 workers of 1 GPU, 4 CPU can never run here: there is room for 0 (alive nodes: 1 without CPUs and "
        "GPUs, 1 with 4 CPU; there is no autoscaler); "
    )
    assert fault.permanent
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
def test_a_request_that_may_be_met_is_waited_for(settings: tuple[str, ...], cluster: Capacity) -> None:
    assert [*resource_problems(recipe(*settings), cluster)] == []


def test_an_evaluation_that_can_never_run_is_refused() -> None:
    on_gpu = ScaleConfig(use_gpu=True)
    with pytest.raises(ClusterUnfit, match=r"a GPU, .* 1 with 4 CPU; .*; set scale\.use_gpu=false, or") as unfit:
        check_room_to_evaluate(on_gpu, Capacity((HEAD, CPU)))
    assert unfit.value.exit_code == 2
    with pytest.raises(ClusterUnfit, match="needs a CPU"):
        check_room_to_evaluate(ScaleConfig(), Capacity((HEAD,)))
    check_room_to_evaluate(ScaleConfig(), Capacity((HEAD, CPU)))
    for cluster in (Capacity((HEAD,), NodeTypes((GPUS,))), Capacity((HEAD,), UNKNOWN_NODE_TYPES)):
        check_room_to_evaluate(on_gpu, cluster)


def test_too_few_cpus_to_read_are_no_fault() -> None:
    scale = ScaleConfig(workers=1, cpus_per_worker=2, data_cpus=3)
    (warning,) = resource_warnings(scale, Capacity((HEAD, replace(CPU, labels={}))))
    assert warning.startswith(
        "3 CPUs are requested for reading data (scale.data_cpus), but there is never room for more than 2; "
    )
    assert not [*resource_warnings(scale, Capacity((HEAD, replace(CPU, resources={"CPU": 3.0}))))]
    (warning,) = resource_warnings(scale, Capacity((HEAD, GPU, replace(CPU, resources={"CPU": 1.0}))))
    assert "more than 1 on nodes with pool=cpu; " in warning
    assert not [*resource_warnings(scale, Capacity((HEAD,), UNKNOWN_NODE_TYPES))]


def test_each_node_is_asked_for_what_will_run_there() -> None:
    wanted = JobRequirements(
        recipe(*ON_GPUS), Capacity((HEAD, CPU, GPU)), "s3://b/run", "s3://b/mark", ("s3://b/index",)
    )
    checks = [list(wanted.for_node(node).checks()) for node in (HEAD, CPU, GPU)]
    assert checks == [
        ["versions"],
        ["versions", "corpus"],
        ["versions", "disk", "corpus", "storage", "text_tower.pretrained", "GPU"],
    ]
    assert wanted.for_node(GPU).gpus == 1
    assert "GPU" not in JobRequirements(recipe(), Capacity((GPU,)), "a", "b", ()).for_node(GPU).checks()


def test_the_weights_that_a_recipe_names() -> None:
    named = recipe()
    assert [needed for _, needed in weights_of(named)] == [TEXT_ENCODER]
    of_both = named.replace(audio_tower=AstTowerConfig(pretrained="hub:MIT/ast"))
    assert [*weights_of(of_both)][1] == ("hub:MIT/ast", AST_CHECKPOINT)


def test_faults_are_told_once_for_all_nodes_that_have_them() -> None:
    nodes = [node_name(replace(GPU, address=f"10.0.0.{number}")) for number in range(5)]
    faults = [Problem("", "no room"), *(Problem(node, "storage: no answer in 25 s", permanent=False) for node in nodes)]
    error = ClusterUnfit(faults)
    assert str(error) == (
        "the cluster cannot run this job:\n"
        "  - no room\n"
        "  - gpu node 10.0.0.0, gpu node 10.0.0.1, gpu node 10.0.0.2 and 2 more: storage: no answer in 25 s\n"
        "Nothing was started."
    )
    assert (error.exit_code, ClusterUnfit(faults[1:]).exit_code) == (2, 1)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A cluster that others have started, whose nodes are asked here and not by Ray."""
    seen = SimpleNamespace(marks=[], faults=[], unseen=[])

    def probe_nodes(nodes: Any, *, limit_s: float) -> Any:
        seen.marks = [asked.marker_uri for _, asked in nodes if asked.marker_uri]
        assert all(filesystem.exists(mark) for mark in seen.marks)
        return seen.faults, seen.unseen

    monkeypatch.setattr(module, "started_ray", lambda: False)
    monkeypatch.setattr(module, "capacity", lambda: Capacity((HEAD, CPU)))
    monkeypatch.setattr(module, "probe_nodes", probe_nodes)
    yield seen
    assert seen.marks
    assert not any(filesystem.exists(mark) for mark in seen.marks)


@pytest.mark.parametrize("made", [True, False])
def test_nodes_must_see_what_was_written_here(probes: SimpleNamespace, tmp_path: Path, made: bool) -> None:
    run = Run.at(tmp_path / "runs", "a")
    if made:
        Path(run.uri).mkdir(parents=True)
    probes.unseen = ["cpu node could not be checked"]
    assert preflight(recipe(), run) == probes.unseen
    assert Path(probes.marks[0]).parent == (Path(run.uri) if made else tmp_path)
    assert Path(run.uri).exists() == made


def test_all_faults_are_told_at_once(probes: SimpleNamespace, tmp_path: Path) -> None:
    probes.faults = [Problem("cpu node 10.0.0.2", "corpus: not there")]
    with pytest.raises(ClusterUnfit) as unfit:
        preflight(recipe("scale.workers=2", "scale.cpus_per_worker=4"), Run.at(tmp_path, "a"))
    assert [fault.where for fault in unfit.value.problems] == ["", "cpu node 10.0.0.2"]


def test_on_a_ray_of_this_process_only_room_is_looked_at(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as none:
        none.setattr(module, "probe_nodes", lambda *_, **__: pytest.fail("a task was started"))
        assert preflight(recipe(), Run.at(tmp_path, "a")) == []
        with pytest.raises(ClusterUnfit, match="2 workers of 1 GPU, 4 CPU can never run here"):
            preflight(recipe(*ON_GPUS), Run.at(tmp_path, "a"))
    assert not [*tmp_path.iterdir()]
