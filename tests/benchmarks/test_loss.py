"""Tests the benchmark of the loss on few pairs, and the memory of the loss on many. Times are not tested."""

import json

import pytest
import torch

from mulan.benchmarks import loss as bench
from mulan.benchmarks.loss import LossRequest, bench_loss, in_processes, unit_rows
from mulan.benchmarks.measure import in_fresh_process


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_report_has_every_form_in_one_and_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.WHOLE_MATRICES, "untiled", 40_000)  # 0.7 GB for 64 pairs, 168 GB for 1,024
    monkeypatch.setattr(bench, "PROCESSES", (1, 2))
    monkeypatch.setattr(bench, "_has_open_clip", lambda: False)
    lines: list[str] = []
    report = bench_loss(pairs=64, memory_pairs=1024, rounds=2, device="cpu", progress=lines.append)
    rows = {row.name: row for row in report.rows}
    names = ["tiled", "untiled", "tiled, 2 processes", "untiled, 2 processes", "open_clip"]
    assert list(rows) == names
    for name in names[:4]:
        large = {"memory, 1,024 pairs", "time, 1,024 pairs"}
        only_tiled = {"time to untiled", "gradients to untiled"} | large if name.startswith("tiled") else set()
        assert rows[name].figures.keys() == {"time", "memory, 64 pairs"} | only_tiled
        for figure in ("time", *(large if only_tiled else ())):
            assert len(rows[name].figures[figure].values) == 2
            assert rows[name].figures[figure].low > 0
        assert rows[name].remark.startswith("" if only_tiled else "1,024 pairs in round 1: would need 167.8 GB, of")
        assert bool(rows[name].remark) != bool(only_tiled)
    assert "pip install -e '.[peers]'" in rows["open_clip"].remark
    assert [goal.bound for goal in report.goals] == [64, 1.3, 1e-6]
    assert rows["tiled"].figures["gradients to untiled"].median < 1e-6
    assert 0 < rows["tiled, 2 processes"].figures["gradients to untiled"].median < 1e-6
    assert lines
    json.dumps(report.to_json())


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_loss_of_32_768_pairs_needs_at_most_64_mb_in_addition_to_its_input() -> None:
    """Gradients account for 32 MiB of them; one similarity matrix would need 4,096 MiB."""
    memory_mb = in_processes(LossRequest("memory", ("tiled",), 32_768, "cpu"))["tiled"][0]
    assert 2 * 32_768 * bench.DIM * 4e-6 < memory_mb <= 64


@pytest.mark.processes
def test_a_process_of_two_holds_the_embeddings_of_one_modality_at_a_time() -> None:
    """Those of both, and buffers for the communication, would need another 25 MB."""
    pairs = 16_384
    memory_mb = in_processes(LossRequest("memory", ("tiled",), pairs, "cpu", workers=2))["tiled"][0]
    assert 2 * pairs * bench.DIM * 4e-6 < memory_mb < 45


@pytest.mark.processes
def test_a_form_beyond_the_free_memory_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the machine runs out of memory, nor does the other process wait for the one that ended."""
    monkeypatch.setattr(bench, "free_memory_mb", lambda *, device: bench.SPARE_MB + 2 * 200)
    with pytest.raises(bench.OutOfMemory, match=r"more than the 0\.2 GB"):
        in_processes(LossRequest("memory", ("untiled",), 4096, "cpu", workers=2))


@pytest.mark.processes
def test_memory_of_whole_matrices_is_measured() -> None:
    pairs = 4096  # large enough that malloc returns a matrix as soon as it is freed
    memory_mb = in_processes(LossRequest("memory", ("untiled",), pairs, "cpu"))["untiled"][0]
    assert memory_mb == pytest.approx(bench.WHOLE_MATRICES["untiled"] * pairs**2 * 4e-6, rel=0.25)


def test_a_process_generates_the_same_batch_every_time() -> None:
    audio, text, temperature = unit_rows(64, "cpu")
    assert torch.equal(audio, unit_rows(64, "cpu").audio)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(64))
    partners, strangers = (audio * text).sum(dim=1), (audio * text.roll(1, 0)).sum(dim=1)
    assert partners.mean() > strangers.mean() + 0.3
    assert temperature.item() == pytest.approx(bench.TEMPERATURE)


@pytest.mark.processes
def test_neither_ray_nor_deepspeed_is_loaded() -> None:
    """They may not be installed on a machine with a GPU."""
    loaded = in_fresh_process(
        "timeit", ["-n1", "-r1", "import mulan.benchmarks.loss, sys; print(*sys.modules)"], timeout_s=300
    )
    assert "mulan.objectives.contrastive" in loaded.split()
    assert not {"ray", "deepspeed"} & set(loaded.split())
