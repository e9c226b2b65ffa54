"""Peak arithmetic of GPUs, to which the model FLOPs of a run are related (MFU: Chowdhery et al. 2022, PaLM, §4.1).

The numbers are those of NVIDIA's data sheets for dense matrices. Where a data sheet states them with sparsity only,
they are half of it.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch


class Peak(NamedTuple):
    """Peak FLOP/s of a GPU by the kind of arithmetic; None where its tensor cores do not have it."""

    bf16: float | None
    """Tensor cores on bfloat16."""
    tf32: float | None
    """Tensor cores on TF32."""
    float32: float
    """Ordinary float32."""


_PEAKS: dict[str, Peak] = {
    r"Tesla V100-SXM2-\d+GB(-LS)?": Peak(None, None, 15.7e12),
    r"Tesla V100-PCIE-\d+GB": Peak(None, None, 14.0e12),
    r"Tesla V100S-PCIE-32GB": Peak(None, None, 16.4e12),
    r"Tesla T4": Peak(None, None, 8.1e12),
    r"NVIDIA A10": Peak(125e12, 62.5e12, 31.2e12),
    r"(NVIDIA )?A100-(SXM4|PCIE)-\d+GB|NVIDIA A100 80GB PCIe": Peak(312e12, 156e12, 19.5e12),
    r"NVIDIA L4": Peak(121e12, 60e12, 30.3e12),
    r"NVIDIA L40S": Peak(362e12, 183e12, 91.6e12),
    r"NVIDIA H100 80GB HBM3": Peak(989e12, 494e12, 67e12),
    r"NVIDIA H100 PCIe": Peak(756e12, 378e12, 51e12),
    r"NVIDIA H100 NVL": Peak(835e12, 417e12, 60e12),
    r"NVIDIA H200": Peak(989e12, 494e12, 67e12),
    r"NVIDIA H200 NVL": Peak(835e12, 417e12, 60e12),
    r"NVIDIA B200": Peak(2250e12, 1125e12, 75e12),
}
"""Peaks by a pattern for the whole name that ``torch.cuda.get_device_name`` returns; parts of a GPU (MIG) have other
names, and are unknown."""


def peak_flops(device: torch.device, precision: Literal["float32", "bf16"]) -> float | None:
    """Returns the peak FLOP/s of a device at the precision of a recipe; None if it is unknown, as that of every CPU.

    In float32, PyTorch computes convolutions in TF32 and matrix products in float32, unless its settings, which mulan
    leaves alone, say otherwise. The peak is that of TF32 if any of them use it, so that no share can exceed 1; a
    transformer in float32 cannot come near it.
    """
    if device.type != "cuda":
        return None
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return named_peak(torch.cuda.get_device_name(device), precision, tf32=tf32)


def named_peak(name: str, precision: Literal["float32", "bf16"], *, tf32: bool) -> float | None:
    """Returns the peak FLOP/s of a GPU by the name that ``torch.cuda.get_device_name`` returns; None if unknown.

    Args:
        tf32: Whether float32 is computed in TF32 where the GPU has it.
    """
    peak = next((peak for pattern, peak in _PEAKS.items() if re.fullmatch(pattern, name)), None)
    if peak is None:
        return None
    return peak.bf16 if precision == "bf16" else (tf32 and peak.tf32) or peak.float32


def utilization(flops_per_s: float, peaks: Sequence[float | None]) -> float | None:
    """Returns the share of the workers' peak arithmetic (MFU, 0 to 1); None if the peak of a worker is unknown.

    Args:
        flops_per_s: Model FLOP/s of all workers together.
        peaks: The peak of each worker's device (:func:`peak_flops`).
    """
    known = [peak for peak in peaks if peak is not None]
    return flops_per_s / sum(known) if len(known) == len(peaks) else None
