"""Tests the table of peaks by the names that drivers report, and the share of the peak."""

import pytest
import torch

from mulan.telemetry.peaks import named_peak, peak_flops, utilization


@pytest.mark.parametrize(
    ("name", "bf16", "tf32", "float32"),
    [
        ("Tesla V100-SXM2-32GB", None, 15.7, 15.7),
        ("Tesla T4", None, 8.1, 8.1),
        ("NVIDIA A10", 125, 62.5, 31.2),
        ("NVIDIA A100-SXM4-40GB", 312, 156, 19.5),
        ("NVIDIA A100-PCIE-40GB", 312, 156, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 156, 19.5),
        ("NVIDIA L4", 121, 60, 30.3),
        ("NVIDIA L40S", 362, 183, 91.6),
        ("NVIDIA H100 80GB HBM3", 989, 494, 67),
        ("NVIDIA H100 PCIe", 756, 378, 51),
        ("NVIDIA H100 NVL", 835, 417, 60),
        ("NVIDIA H200", 989, 494, 67),
        ("NVIDIA B200", 2250, 1125, 75),
    ],
)
def test_peaks_are_found_by_the_whole_name(name: str, bf16: float | None, tf32: float, float32: float) -> None:
    assert named_peak(name, "bf16", tf32=True) == (None if bf16 is None else bf16 * 1e12)
    assert named_peak(name, "float32", tf32=True) == tf32 * 1e12
    assert named_peak(name, "float32", tf32=False) == float32 * 1e12


@pytest.mark.parametrize(
    "name", ["NVIDIA A10G", "NVIDIA L40", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "AMD Instinct MI300X"]
)
def test_other_gpus_are_unknown_even_with_similar_names(name: str) -> None:
    assert named_peak(name, "bf16", tf32=True) is None


def test_a_cpu_has_no_known_peak() -> None:
    assert peak_flops(torch.device("cpu"), "float32") is None


def test_the_share_is_that_of_all_workers_and_needs_the_peak_of_each() -> None:
    assert utilization(400e12, [989e12, 989e12]) == pytest.approx(0.2022, abs=1e-4)
    assert utilization(400e12, [989e12, None]) is None
