"""Tests that readings reach a sink and the metrics of a Ray node, and that a sink that hangs or fails stops nothing."""

import threading
import urllib.request
from collections.abc import Iterable
from queue import Queue

import pytest
import ray

from mulan.telemetry.gauges import Reading
from mulan.telemetry.publisher import Publisher, RayGauges
from tests.waiting import wait_until


class Collecting:
    """A sink that keeps what it receives, once it is released."""

    def __init__(self, *, released: bool = True) -> None:
        self.received: Queue[list[Reading]] = Queue()
        self.asked, self.release = threading.Event(), threading.Event()
        if released:
            self.release.set()

    def publish(self, readings: Iterable[Reading]) -> None:
        self.asked.set()
        assert self.release.wait(60)
        self.received.put(list(readings))


def test_only_the_newest_reading_of_each_gauge_and_label_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publisher, "PERIOD_S", 0.0)
    sink = Collecting(released=False)
    with Publisher(sink) as publisher:
        publisher.update([Reading("mulan_step", 1)])
        assert sink.asked.wait(60)  # the thread publishes the first step, and more are done meanwhile
        for step in (2, 3):
            publisher.update([Reading("mulan_step", step), Reading("mulan_loss_term", step, "clip")])
        publisher.update([Reading("mulan_loss_term", 9.0, "siglip")])
        sink.release.set()
        assert sink.received.get(timeout=60) == [Reading("mulan_step", 1)]
        assert sorted(sink.received.get(timeout=60)) == [
            Reading("mulan_loss_term", 3, "clip"),
            Reading("mulan_loss_term", 9, "siglip"),
            Reading("mulan_step", 3),
        ]


def test_the_last_readings_are_published_at_the_end() -> None:
    sink = Collecting()
    with Publisher(sink) as publisher:
        publisher.update([Reading("mulan_step", 1)])
        first = sink.received.get(timeout=60)
        publisher.update([Reading("mulan_step", 2)])  # within a second of the first
    assert (first, sink.received.get(timeout=60)) == ([Reading("mulan_step", 1)], [Reading("mulan_step", 2)])


def test_a_sink_that_hangs_stops_neither_the_caller_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publisher, "END_TIMEOUT_S", 0.01)
    sink = Collecting(released=False)
    done = threading.Event()

    def train() -> None:
        with Publisher(sink) as publisher:
            for step in range(10_000):
                publisher.update([Reading("mulan_step", step)])
        done.set()

    threading.Thread(target=train, daemon=True).start()
    assert done.wait(60)
    assert sink.received.empty()
    sink.release.set()


def test_a_sink_that_fails_is_reported_once_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Collecting):
        def publish(self, readings: Iterable[Reading]) -> None:
            super().publish(readings)
            raise OSError("no connection")

    monkeypatch.setattr(Publisher, "PERIOD_S", 0.0)
    sink = Failing()
    with Publisher(sink) as publisher:
        for step in range(3):
            publisher.update([Reading("mulan_step", step)])
            assert sink.received.get(timeout=60) == [Reading("mulan_step", step)]
    assert [record.getMessage() for record in caplog.records] == [
        "metrics of the run cannot be published: no connection"
    ]


class Worker:
    """A process that publishes readings and then stays, as a training worker does."""

    def publish(self, readings: list[Reading]) -> None:
        self._gauges = RayGauges("run-1")
        self._gauges.publish(readings)


def metrics_of_nodes() -> list[str]:
    """Returns the lines about runs that Prometheus would read from the nodes' agents."""
    lines: list[str] = []
    for node in ray.nodes():
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(address, timeout=10) as response:
            lines += [line for line in response.read().decode().splitlines() if line.startswith("ray_mulan_")]
    return lines


@pytest.mark.usefixtures("ray_cluster")
def test_readings_are_exported_by_the_node_for_prometheus() -> None:
    """Only Ray's agent shows that names, labels and values arrive as they are documented; the cluster has no
    dashboard. Ray sends metrics every 10 s, for which this test waits."""
    worker = ray.remote(num_cpus=0)(Worker).remote()
    readings = [
        Reading("mulan_step", 30),
        Reading("mulan_loss_term", 2.5, "contrastive"),
        Reading("mulan_skipped_recordings", 3, 'audio "a"\nb'),
    ]
    ray.get(worker.publish.remote(readings))
    lines: list[str] = []

    def has_arrived() -> bool:
        lines[:] = [line for line in metrics_of_nodes() if 'run="run-1"' in line]
        return len(lines) == len(readings)

    wait_until(has_arrived, what=lambda: f"{len(readings)} readings, of {lines}", period_s=0.5)
    by_name = {line.partition("{")[0]: line for line in lines}
    assert by_name["ray_mulan_step"].endswith(" 30.0")
    assert 'term="contrastive"' in by_name["ray_mulan_loss_term"] and by_name["ray_mulan_loss_term"].endswith(" 2.5")
    assert r'reason="audio \"a\"\nb"' in by_name["ray_mulan_skipped_recordings"]
    ray.kill(worker)
