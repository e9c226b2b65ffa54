"""Bitwise comparison of two runs of one recipe: measurements and weights."""

import hashlib
from typing import Any

import torch

CLOCKED = ("pairs_per_s", "step_s", "data_wait_s")
"""Fields of a line of metrics that measure time."""


def measured(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the lines without times: losses and their terms, gradient norms, temperatures and validations."""
    return [{name: value for name, value in line.items() if name not in CLOCKED} for line in lines]


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def digests(state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Returns hash, dtype and shape of every tensor of
    :meth:`mulan.training.engines.base.CheckpointedEngine.state`.
    """
    found = {}
    for name, tensor in state.items():
        content = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        content.update(tensor.contiguous().numpy().tobytes())
        found[name] = content.hexdigest()
    return found


def differing(state: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns the names of the tensors, or digests, that differ."""
    assert state.keys() == other.keys()
    return [name for name, value in state.items() if not _equal(value, other[name])]


def _equal(value: Any, other: Any) -> bool:
    return torch.equal(value, other) if isinstance(value, torch.Tensor) else bool(value == other)
