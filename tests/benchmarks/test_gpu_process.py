"""Tests the measurements that run on a GPU, with narrow models on a CPU; times are not tested."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mulan.benchmarks import gpu_process, loss
from mulan.benchmarks.gpu import recipe_to_measure
from mulan.benchmarks.gpu_process import _emit_trace, _Trainer, take
from mulan.benchmarks.gpu_readings import GpuReading, GpuRequest
from mulan.benchmarks.gpu_trace import OWN, TraceFigures
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.telemetry.flops import count_flops


def request(subject: str, *, device: str = "cpu", **fields: object) -> GpuRequest:
    recipe = recipe_to_measure("m_ast", device="cpu")
    one = GpuRequest(subject, "m_ast", device, rounds=2, recipe_toml=recipe.to_toml(), bert_width=12)
    return replace(one, **fields)  # type: ignore[arg-type]


def taken(asked: GpuRequest) -> list[GpuReading]:
    readings: list[GpuReading] = []
    take(asked, readings.append)
    return readings


def trainer(device: str = "cpu") -> _Trainer:
    recipe = recipe_to_measure("m_ast", device="cpu")
    return _Trainer(model_to_measure(recipe, bert_width=12), recipe, device=device, micro_batches=2)


def test_a_form_of_the_loss_that_is_not_installed_is_noted_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(loss.FORMS, "open_clip", lambda: __import__("no_such_library"))
    readings = taken(request("loss", label="loss", sizes=(64,)))
    assert [(one.name, len(one.values)) for one in readings] == [
        ("loss of 64 pairs, tiled: seconds", 2),
        ("loss of 64 pairs, tiled: memory", 1),
        ("loss of 64 pairs, untiled: seconds", 2),
        ("loss of 64 pairs, untiled: memory", 1),
        ("loss of 64 pairs, open_clip: seconds", 0),
        ("loss of 64 pairs, open_clip: memory", 0),
        ("loss of 64 pairs: gradients, tiled to untiled", 1),
    ]
    assert readings[4].remark == "not measured: No module named 'no_such_library'"
    assert readings[-1].values[0] < 1e-6


def test_figures_are_emitted_after_each_step_and_agree(tmp_path: Path) -> None:
    readings = taken(request("step", folder=str(tmp_path)))
    counts = [len(one.values) for one in readings if one.name == "m_ast: step"]
    assert counts == [1, 2]
    last = {one.name.removeprefix("m_ast: "): one.values for one in readings}
    recipe = recipe_to_measure("m_ast", device="cpu")
    flops = count_flops(model_to_measure(recipe, bert_width=12), recipe)
    total = sum(flops(synthetic_batch(recipe, step=0, micro_batch=number, tokens=0)) for number in range(2))
    assert last["model FLOPs"] == pytest.approx([total / 1e12 / seconds for seconds in last["step"]])
    assert last["pairs/s"] == pytest.approx([16 / seconds for seconds in last["step"]])


def test_no_further_step_is_measured_when_the_time_is_up(tmp_path: Path) -> None:
    readings = taken(request("step", folder=str(tmp_path), seconds=0.0))
    assert [len(one.values) for one in readings if one.name == "m_ast: step"] == [1]


def test_groups_are_compared_by_figures_that_are_emitted_at_once() -> None:
    readings = taken(request("groups"))
    name = "m_ast: step of 16 pairs, length_groups = "
    assert [(one.name.removeprefix(name), len(one.values)) for one in readings] == [
        ("2", 1),
        ("1", 1),
        ("1", 2),
        ("2", 2),
    ]
    assert readings[2].values[0] == readings[1].values[0]


def test_when_the_time_is_up_everything_is_measured_once_at_most() -> None:
    groups = taken(request("groups", seconds=0.0))
    assert [len(one.values) for one in groups] == [1, 1]
    products = taken(request("products", label="product", sizes=(8, 8), seconds=0.0))
    assert [(one.name, len(one.values)) for one in products] == [("product, bfloat16", 1), ("product, float64", 1)]
    first, *others = taken(request("loss", label="loss", sizes=(64,), seconds=0.0))
    assert first.name == "loss of 64 pairs, tiled: seconds" and len(first.values) == 2
    assert len(others) == 6
    assert {(one.values, one.remark) for one in others} == {((), "not measured: the time was up")}


def test_the_step_itself_is_annotated_without_the_waits_of_the_benchmark(tmp_path: Path) -> None:
    """Without a GPU: a planted operator stands for the wait before and after each step."""
    one = trainer()

    def wait(_: torch.device) -> None:
        with record_function("wait"):
            pass

    with pytest.MonkeyPatch.context() as patch, profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
        patch.setattr(gpu_process, "synchronize", wait)
        one.step(one.batches)
    events = [event for event in found.events() if event.name in ("wait", OWN)]
    before, own, after = sorted(events, key=lambda event: event.time_range.start)
    assert (before.name, own.name, after.name) == ("wait", OWN, "wait")
    assert before.time_range.end <= own.time_range.start and own.time_range.end <= after.time_range.start


def test_waits_of_the_host_are_counted_while_gradients_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: warnings are planted as CUDA gives them, one for each of the four forward passes."""
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    one = trainer()
    assert one.waits(one.batches) == []

    def warn(*_: object) -> None:
        text = "called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp:15.)"
        warnings.warn(text, stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    one.model.register_forward_hook(warn)
    found = one.waits(one.batches)
    assert len(found) == 4
    assert all(place.startswith("test_gpu_process.py:") for place in found)
    assert modes == ["warn", "default"] * 2


@pytest.mark.gpu
def test_a_step_on_a_gpu_does_not_wait_until_all_gradients_are_queued() -> None:
    one = trainer("cuda")
    one.step(one.batches)
    assert one.waits(one.batches) == []
    one.model.register_forward_hook(lambda *_: torch.ones(1, device="cuda").item())
    assert len(one.waits(one.batches)) == 4


@pytest.mark.gpu
def test_a_step_is_measured_on_a_gpu(tmp_path: Path) -> None:
    names = {one.name.removeprefix("m_ast: ") for one in taken(request("step", device="cuda", folder=str(tmp_path)))}
    assert {"step", "peak memory", "attention, of the time of kernels", "copies from the host beside kernels"} <= names


def test_the_figures_of_a_trace_are_shares_and_numbers_of_a_step() -> None:
    trace = TraceFigures(
        steps=2,
        step_s=4.0,
        operators={"aten::_scaled_dot_product_flash_attention": 96},
        kernels_s=3.0,
        attention_s={"flash_bwd": 0.5, "flash_fwd": 0.1},
        copies_s=0.02,
        overlapped_s=0.015,
        waits={"cudaStreamSynchronize": 6},
    )
    readings: list[GpuReading] = []
    _emit_trace(trace, "m_ast", readings.append)
    assert [(one.name.removeprefix("m_ast: "), *one.values) for one in readings] == [
        ("calls of attention in a short step", 48),
        ("attention, of the time of kernels", pytest.approx(0.2)),
        ("kernels, of a short step", 0.75),
        ("copies from the host beside kernels", 0.75),
        ("host waits in a short step, with those at its end", 3),
    ]
    assert readings[1].remark == "flash_bwd (250.0 ms), flash_fwd (50.0 ms)"
    readings.clear()
    _emit_trace(replace(trace, kernels_s=0.0), "m_ast", readings.append)
    assert len(readings) == 1  # of a CPU
