"""Tests the benchmark of a GPU with narrow models on a CPU, by the command itself, in this process."""

import json
from pathlib import Path

from mulan.benchmarks.gpu_trace import read_figures
from tests.jobs.called import Job, assert_refused


def test_all_that_a_cpu_can_measure_is_in_one_table_one_json_and_traces(job: Job) -> None:
    code, out, err = job("bench", "gpu", "--device", "cpu", "--minutes", "9", "--rounds", "1", "--folder", "here")
    assert (code, err) == (0, "")
    report = json.loads(Path("here/report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    measured = {name for name, row in rows.items() if row["figures"]}
    assert {
        "product of square matrices, bfloat16",
        "product of square matrices, float64",
        "m_ast: step",
        "m_ast: pairs/s",
        "m_ast: model FLOPs",
        "m_ast: model FLOPs to the measured product",
        "m_ast: step of 16 pairs, length_groups = 2",
        "m_ast: step of 16 pairs, length_groups = 1",
        "m_ast: calculated memory",
        "m_resnet50: step",
        "loss of 96 pairs, tiled: seconds",
        "loss of 512 pairs, untiled: memory",
    } <= measured
    assert not [name for name, row in rows.items() if "failed" in row["remark"]]
    attention = rows["m_ast: calls of attention in a short step"]
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in attention["remark"]
    assert "need a GPU" in rows["tests marked gpu, in one process: passed"]["remark"]
    assert report["command"].startswith("python -m jobs.bench")
    assert not any("time was up" in note for note in report["notes"])
    table = Path("here/report.txt").read_text()
    for name in rows:
        assert name in table and name in out
    assert read_figures("here/m_ast/rank_0.json.gz").steps == 1


def test_invalid_requests_are_refused(job: Job) -> None:
    assert_refused(job("bench", "gpu", "--minutes", "0"), "--minutes 0.0")
    assert_refused(job("bench", "gpu", "--minutes", "nan"), "--minutes nan")
    assert_refused(job("bench", "gpu", "--device", "cuda"), "torch finds no GPU")
    assert_refused(job("bench", "gpu", "--folder", "/proc/nope"), "/proc/nope cannot be written")
