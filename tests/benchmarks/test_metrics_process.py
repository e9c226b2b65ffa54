"""Tests that a measurement takes steps with and without metrics; it uses the cluster of the tests."""

import pytest
import torch

from mulan.benchmarks import metrics_process
from mulan.benchmarks.step_process import StepJob
from mulan.recipes.registry import load_recipe


@pytest.mark.usefixtures("ray_cluster")
def test_every_step_with_metrics_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster, because gauges of Ray are measured; no process is started."""
    monkeypatch.setattr(metrics_process, "keep_freed_memory", lambda: None)
    recipe = load_recipe("m_resnet50_audioset_miniature", ["scale.workers=1"])
    threads = torch.get_num_threads()
    reading = metrics_process.read(StepJob(recipe.to_toml(), "torch", 2, 1, tokens=0, corpus=False))
    torch.set_num_threads(threads)
    assert 0 < reading.calls_s < reading.measured_s
    assert 0 < reading.publishing_s < reading.plain_s
