"""Tests the figures of traces: on planted events of a GPU, and on a real trace of attention on a CPU."""

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mulan.benchmarks.gpu_trace import OWN, figures_of, read_figures, short_name
from mulan.instrumentation.trace import STEP


def event(name: str, begin: float, end: float, cat: str) -> dict[str, Any]:
    """Returns an event of a trace, with times in microseconds."""
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": begin, "dur": end - begin}


FLASH = "void pytorch_flash::flash_bwd_kernel<Flash_bwd_kernel_traits<64, 128> >(pytorch_flash::Flash_bwd_params)"
EFFICIENT = "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<float>::Params)"
CUDNN = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_kernel0_0"

EVENTS = [
    event(f"{STEP}1", 0, 1000, "user_annotation"),
    event(f"{STEP}2", 2000, 3000, "user_annotation"),
    event(OWN, 5, 991, "user_annotation"),
    event(OWN, 2050, 2990, "user_annotation"),
    event("cudaDeviceSynchronize", 1, 4, "cuda_runtime"),  # by the benchmark, before and after each step itself
    event("cudaDeviceSynchronize", 992, 999, "cuda_runtime"),
    event("cudaDeviceSynchronize", 2010, 2040, "cuda_runtime"),
    event("cudaDeviceSynchronize", 2991, 2999, "cuda_runtime"),
    event("aten::_scaled_dot_product_flash_attention", 10, 20, "cpu_op"),
    event("aten::_scaled_dot_product_flash_attention", 30, 40, "cpu_op"),
    event("aten::_scaled_dot_product_efficient_attention", 50, 60, "cpu_op"),
    event("aten::scaled_dot_product_attention", 5, 20, "cpu_op"),
    event(FLASH, 100, 200, "kernel"),
    event(FLASH, 300, 400, "kernel"),
    event(EFFICIENT, 400, 450, "kernel"),
    event(CUDNN, 500, 520, "kernel"),
    event("triton_poi_fused__scaled_dot_product_flash_attention_add_3", 600, 700, "kernel"),
    event("sm90_xmma_gemm_bf16", 650, 800, "kernel"),
    event("Memcpy HtoD (Pinned -> Device)", 50, 150, "gpu_memcpy"),  # half of it beside a kernel
    event("Memcpy HtoD (Pinned -> Device)", 660, 760, "gpu_memcpy"),
    event("Memcpy DtoH (Device -> Pageable)", 900, 990, "gpu_memcpy"),
    event("cudaMemcpyAsync", 40, 45, "cuda_runtime"),
    event("cudaStreamSynchronize", 950, 990, "cuda_runtime"),
    event("cudaStreamSynchronize", 2500, 2990, "cuda_runtime"),
    event("cudaEventSynchronize", 2100, 2110, "cuda_runtime"),
    event("cudaDeviceSynchronize", 3100, 3200, "cuda_runtime"),  # after the steps, by the profiler
    {"ph": "M", "name": "process_name", "pid": 1},
]


def test_the_figures_of_a_gpu() -> None:
    found = figures_of(EVENTS)
    assert found.steps == 2
    assert found.step_s == pytest.approx(2e-3)
    assert found.operators == {
        "aten::_scaled_dot_product_flash_attention": 2,
        "aten::_scaled_dot_product_efficient_attention": 1,
    }
    assert found.kernels_s == pytest.approx(470e-6)  # the triton kernel and the product overlap
    assert list(found.attention_s) == ["pytorch_flash::flash_bwd_kernel", short_name(EFFICIENT), CUDNN]
    assert list(found.attention_s.values()) == pytest.approx([200e-6, 50e-6, 20e-6])
    assert found.copies_s == pytest.approx(200e-6)
    assert found.overlapped_s == pytest.approx(150e-6)
    assert found.waits == {"cudaStreamSynchronize": 2, "cudaEventSynchronize": 1}


def test_the_attention_of_a_real_trace_is_named(tmp_path: Path) -> None:
    query = torch.randn(2, 3, 16, 8)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as one, record_function(f"{STEP}1"):
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    one.export_chrome_trace(str(tmp_path / "trace.json"))
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress((tmp_path / "trace.json").read_bytes()))
    found = read_figures(str(tmp_path / "trace.json.gz"))
    assert found.steps == 1
    assert found.operators == {"aten::_scaled_dot_product_flash_attention_for_cpu": 1}
    assert found.step_s > 0
    assert (found.kernels_s, found.copies_s, found.overlapped_s, found.waits) == (0, 0, 0, {})
