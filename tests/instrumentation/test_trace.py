"""Tests the times in traces: on a CPU against the profiler's own table, on a GPU on a trace with planted times."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mulan.instrumentation.trace import DATA, STEP, StepTimes, profile_of, read_trace


def event(name: str, begin: float, end: float, cat: str = "cpu_op", **args: Any) -> dict[str, Any]:
    """Returns an event of a trace, with times in microseconds, in the form in which the profiler exports it."""
    named = {key.replace("_", " "): value for key, value in args.items()}
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": begin, "dur": end - begin, "args": named}


def annotation(name: str, begin: float, end: float) -> dict[str, Any]:
    return event(name, begin, end, cat="user_annotation")


def times(*, step: int, total: float, compute: float, collectives: float, data: float, host: float) -> StepTimes:
    """Returns the times of a step from microseconds."""
    parts = (total, compute, collectives, data, host)
    return StepTimes(step, *(pytest.approx(1e-6 * part) for part in parts))  # type: ignore[arg-type]


def test_operators_of_a_real_trace_have_the_times_of_the_profilers_own_table(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8))
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as one, record_function(f"{STEP}3"):
        for _ in range(3):
            torch.nn.functional.softmax(network(torch.ones(32, 64)), dim=1).sum().backward()
    path = str(tmp_path / "trace.json")
    one.export_chrome_trace(path)
    found = read_trace(path)
    table = {row.key: row for row in one.key_averages() if not row.is_user_annotation}
    assert {"aten::addmm", "aten::gelu", "aten::mm", "aten::_softmax"} < table.keys() == found.operators.keys()
    for name, row in table.items():
        assert found.operators[name].calls == row.count
        assert found.operators[name].seconds == pytest.approx(row.self_cpu_time_total / 1e6, abs=2e-6 * row.count)
    (step,) = found.steps
    assert step.step == 3
    assert 0 < step.compute <= sum(time.seconds for time in found.operators.values()) < step.total
    assert step.compute + step.collectives + step.data + step.host == pytest.approx(step.total)


def test_the_parts_of_a_step_on_a_cpu() -> None:
    found = profile_of(
        [
            annotation(f"{STEP}7", 1000, 2000),
            annotation(DATA, 1000, 1200),
            event("aten::copy_", 1100, 1150),  # reads the batch
            event("_Contrastive", 1200, 1900),  # waits for the collective
            event("aten::mm", 1250, 1400),
            event("c10d::allreduce_", 1400, 1410),
            annotation("gloo:all_reduce", 1350, 1800),  # begins while the product is computed
            annotation("gloo:all_reduce", 1700, 1850) | {"tid": 9},
            event("aten::mm", 2100, 2400),  # after the step
        ]
    )
    assert found.steps == [times(step=7, total=1000, compute=150, collectives=450, data=200, host=200)]
    seconds = {name: round(1e6 * time.seconds, 6) for name, time in found.operators.items()}
    # of 700, 150 are the product's, 10 the call's, and 440 the collective's that remain
    assert seconds == {"aten::copy_": 50, "_Contrastive": 100, "aten::mm": 150}
    assert {time.calls for time in found.operators.values()} == {1}


def test_the_parts_of_a_step_on_a_gpu() -> None:
    found = profile_of(
        [
            annotation(f"{STEP}7", 0, 1000),
            annotation(f"{STEP}8", 1500, 1600),
            event("aten::mm", 10, 20, External_id=1),
            event("aten::linear", 5, 25, External_id=3),
            event("aten::copy_", 30, 40, External_id=2),
            event("cudaLaunchKernel", 12, 14, cat="cuda_runtime", External_id=1),
            event("sm90_xmma_gemm_f32f32", 100, 300, cat="kernel", External_id=1, stream=7),
            event("splitK_reduce", 300, 310, cat="kernel", External_id=1, stream=7),
            event("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 200, 500, cat="kernel", External_id=4, stream=21),
            event("Memcpy HtoD (Pinned -> Device)", 600, 650, cat="gpu_memcpy", External_id=2),
            annotation(DATA, 640, 800),
            event("without_an_operator", 1550, 1600, cat="kernel"),
        ]
    )
    assert found.steps == [
        times(step=7, total=1000, compute=260, collectives=190, data=150, host=400),
        times(step=8, total=100, compute=50, collectives=0, data=0, host=50),
    ]
    seconds = {name: (round(1e6 * time.seconds, 6), time.calls) for name, time in found.operators.items()}
    assert seconds == {"aten::mm": (210, 1), "aten::copy_": (50, 1), "without_an_operator": (50, 1)}


def test_operators_of_different_threads_do_not_contain_each_other() -> None:
    other = event("aten::add", 10, 20) | {"tid": 2}
    found = profile_of([annotation(f"{STEP}1", 0, 100), event("aten::mm", 0, 50), other])
    assert {name: round(1e6 * time.seconds, 6) for name, time in found.operators.items()} == {
        "aten::mm": 50,
        "aten::add": 10,
    }


def test_a_trace_without_steps_has_no_times() -> None:
    assert profile_of([event("aten::mm", 0, 50)]).steps == []
    assert profile_of([]).operators == {}
