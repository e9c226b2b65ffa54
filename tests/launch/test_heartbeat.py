"""Tests the progress lines of a run that waits for its workers."""

import threading

import pytest

from jobs.arguments import CONSOLE
from mulan.config.sections import ScaleConfig
from mulan.launch import heartbeat
from mulan.launch.capacity import Capacity, Node
from mulan.launch.heartbeat import Heartbeat, describe_missing, missing_resources, report_waiting
from mulan.private_ray.core import HEAD_RESOURCE, Demand, NodeType, NodeTypes

HEAD = Node("0", {HEAD_RESOURCE: 1.0}, {})
CPUS = Node("1", {"CPU": 4.0}, {})
GPUS = Node("2", {"CPU": 8.0, "GPU": 2.0}, {})
CPU, GPU = NodeType("cpu", {"CPU": 4.0}, {}, 2), NodeType("gpu", {"CPU": 8.0, "GPU": 2.0}, {}, 4)

SCALE = ScaleConfig(workers=2, use_gpu=True, cpus_per_worker=4)
BUNDLE = {"CPU": 4.0, "GPU": 1.0}
RESERVED = Demand((BUNDLE, BUNDLE))


def test_a_cluster_without_gpus_and_without_an_autoscaler() -> None:
    assert describe_missing(SCALE, Capacity((HEAD, CPUS)), RESERVED) == (
        "2 workers of 1 GPU, 4 CPU each: the cluster has 0 GPU; "
        "there is no autoscaler: the job continues when nodes join or other jobs end"
    )


def test_a_request_that_no_node_type_can_meet() -> None:
    description = describe_missing(SCALE, Capacity((HEAD, CPUS), NodeTypes((CPU,))), RESERVED)
    assert description is not None
    assert "autoscaler: its node types never have room for one (alive nodes:" in description
    assert "cpu: 2 with 4 CPU" in description


def test_starting_nodes_and_failed_launches() -> None:
    waiting = Demand((BUNDLE, BUNDLE), {"cpu": 2, "gpu": 1}, {"gpu": "no capacity in zone a"})
    description = describe_missing(SCALE, Capacity((HEAD,), NodeTypes((CPU, GPU))), waiting)
    assert description == (
        "2 workers of 1 GPU, 4 CPU each: the cluster has 0 CPU and 0 GPU; autoscaler: "
        "2 nodes of type cpu starting, 1 node of type gpu starting, "
        "nodes of type gpu could not be started: no capacity in zone a"
    )


def test_resources_that_are_used_by_others() -> None:
    description = describe_missing(SCALE, Capacity((HEAD, GPUS), NodeTypes((CPU, GPU))), RESERVED)
    assert description is not None
    assert description.endswith("their resources are used by others; autoscaler: no node starting")


def test_an_elastic_run_waits_for_its_minimum_number_of_workers() -> None:
    elastic = SCALE.replace(workers=(3, 8))
    description = describe_missing(elastic, Capacity((HEAD, GPUS), NodeTypes((CPU, GPU))), Demand())
    assert description is not None
    assert description.startswith("3 workers of 1 GPU, 4 CPU each: the cluster's nodes have room for 2; ")


def test_nothing_is_missing_for_workers_that_have_their_resources() -> None:
    others = Demand(({"CPU": 1.0},))
    assert describe_missing(SCALE, Capacity((HEAD, GPUS)), others) is None


def test_a_line_is_due_every_period_while_the_run_has_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now)
    answers = iter(["2 workers", None, "1 worker"])
    waiting = Heartbeat(SCALE, query=lambda _: next(answers))

    def after(seconds: float) -> str | None:
        nonlocal now
        now += seconds
        return waiting.next_line()

    assert after(29) is None
    assert after(1) == "train  waiting for 2 workers (30 s)"
    assert after(20) is None
    assert after(20) == "train  starting workers (70 s)"
    waiting.on_workers_started()
    assert after(100) is None
    waiting.on_workers_lost()
    assert after(10) is None
    assert after(25) == "train  waiting for 1 worker (35 s)"


def test_missing_resources_are_reported_while_a_job_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([None, "2 workers", None])
    reported = threading.Event()

    def answer(_: ScaleConfig) -> str | None:
        missing = next(answers, None)
        if missing is not None:
            reported.set()
        return missing

    monkeypatch.setattr(heartbeat, "PERIOD_S", 0.001)
    monkeypatch.setattr(heartbeat, "missing_resources", answer)
    with report_waiting("evaluate", SCALE, CONSOLE):
        assert reported.wait(60)
    assert capsys.readouterr().out == "evaluate  waiting for 2 workers\n"


def test_missing_resources_of_a_real_cluster(ray_cluster: None) -> None:
    assert missing_resources(ScaleConfig(workers=1)) is None
    assert str(missing_resources(ScaleConfig(workers=1000))).startswith(
        "1000 workers of 1 CPU each: the cluster's nodes have room for"
    )
