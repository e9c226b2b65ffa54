"""Tests what a run publishes besides its steps."""

from types import SimpleNamespace

import pytest
import torch

from mulan.recipes.registry import load_recipe
from mulan.telemetry.gauges import Reading
from mulan.telemetry.run_telemetry import RunTelemetry


def telemetry(published: list[Reading], device: str = "cpu") -> RunTelemetry:
    publisher = SimpleNamespace(update=published.extend)
    return RunTelemetry(publisher, rank=3, device=torch.device(device))  # type: ignore[arg-type]


def test_an_attempt_and_its_events_are_published() -> None:
    published: list[Reading] = []
    run = telemetry(published)
    run.attempt(load_recipe("demo_miniature", ["train.steps=9"]), 2, 1, checkpoint_step=4)
    run.lost(30.5)
    run.checkpoint(8, 1.5)
    run.step({"step": 5}, pairs=16)
    run.device_memory()  # a CPU has no memory of its own
    assert published == [
        Reading("mulan_steps_planned", 9),
        Reading("mulan_workers", 2),
        Reading("mulan_restarts", 1),
        Reading("mulan_checkpoint_step", 4),
        Reading("mulan_lost_seconds", 30.5),
        Reading("mulan_checkpoint_step", 8),
        Reading("mulan_checkpoint_seconds", 1.5),
        Reading("mulan_step", 5),
        Reading("mulan_pairs", 80),
    ]


def test_every_worker_publishes_the_peak_of_its_gpu_since_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks, published = [5e9, 3e9], list[Reading]()
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.pop(0))
    run = telemetry(published, "cuda")
    run.device_memory()
    run.device_memory()
    assert published == [Reading("mulan_gpu_memory_bytes", 5e9, "3"), Reading("mulan_gpu_memory_bytes", 3e9, "3")]
