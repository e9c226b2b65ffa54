"""Tests the order, the time and the failures of the benchmark of a GPU; tests/jobs/test_bench_gpu.py runs all of it."""

from pathlib import Path

import pytest

from mulan.benchmarks.gpu import _from_process, _measurements, _readings, bench_gpu, recipe_to_measure
from mulan.benchmarks.gpu_readings import GpuReading, GpuRequest
from mulan.benchmarks.measure import BenchmarkFailed
from mulan.benchmarks.results import Report
from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.recipe import recipe_from_toml

BAD_SIZE = GpuRequest("products", "product", "cpu", 1, sizes=(16, -1))
"""A request whose first figure can be measured, but not its second."""


def test_when_the_time_is_up_the_rest_is_named() -> None:
    kept: list[Report] = []
    report = bench_gpu(
        minutes=1e-9, rounds=1, device="cpu", folder=Path("none"), progress=lambda _: None, keep=kept.append
    )
    assert report.rows == []
    assert kept == [report]
    assert "m_ast (step), loss (loss), m_resnet50 (step)" in report.notes[-1]


def test_a_failed_measurement_is_a_row_with_its_reason() -> None:
    (failed,) = _readings(BAD_SIZE, 60)
    assert failed.name == "product: products, not completed"
    assert failed.values == ()
    assert failed.remark.startswith("failed: ") and "-1" in failed.remark


@pytest.mark.processes
def test_figures_before_the_failure_of_a_process_are_kept() -> None:
    """Only a process can show that its lines are read before it has ended, and that its failure is noticed."""
    readings = _from_process(BAD_SIZE, 300)
    first = next(readings)
    assert (first.name, first.unit, len(first.values)) == ("product, bfloat16", "TFLOP/s", 1)
    assert isinstance(first, GpuReading) and first.values[0] > 0
    with pytest.raises(BenchmarkFailed, match="-1"):
        next(readings)


def test_a_gpu_is_measured_at_the_papers_batches() -> None:
    measurements = _measurements("cuda", 7, "traces")
    assert sum(one.share for one in measurements) == pytest.approx(1)
    requests = [one.request for one in measurements]
    assert [(one.subject, one.label) for one in requests[2:6]] == [
        ("step", "m_ast"),
        ("loss", "loss"),
        ("step", "m_resnet50"),
        ("step", "m_ast, compiled"),
    ]
    assert requests[0].sizes == (8192, 4096)
    assert requests[3].sizes == (6144, 32_768)
    steps = {one.label: recipe_from_toml(one.recipe_toml, name="") for one in requests if one.subject == "step"}
    assert {label: recipe.batch.pairs for label, recipe in steps.items()} == {
        "m_ast": 5120,
        "m_resnet50": 6144,
        "m_ast, compiled": 5120,
        "m_resnet50, compiled": 6144,
        "m_ast, kernels that are not deterministic": 5120,
    }
    assert {label for label, recipe in steps.items() if recipe.train.compile} == {
        "m_ast, compiled",
        "m_resnet50, compiled",
    }
    for recipe in steps.values():
        assert (recipe.train.precision, recipe.scale.max_workers) == ("bf16", 1)


def test_a_cpu_measures_at_most_a_64th_of_the_width() -> None:
    narrow, whole = (recipe_to_measure("m_ast", device=device).audio_tower for device in ("cpu", "cuda"))
    assert isinstance(narrow, AstTowerConfig) and isinstance(whole, AstTowerConfig)
    assert 64 * narrow.hidden_size == whole.hidden_size
    assert 64 * narrow.feed_forward_size == whole.feed_forward_size
    narrow, whole = (recipe_to_measure("m_resnet50", device=device).audio_tower for device in ("cpu", "cuda"))
    assert isinstance(narrow, ResNetTowerConfig) and isinstance(whole, ResNetTowerConfig)
    assert 64 * narrow.stage_channels[-1] <= whole.stage_channels[-1]
