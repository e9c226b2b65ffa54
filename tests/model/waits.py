"""Detects operations that would synchronise the host with a GPU, on a machine without one."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_LOOKS_AT_VALUES = {
    "_local_scalar_dense",  # item(), int(), bool() and every other use of a value in Python call this operator
    "nonzero",
    "equal",
    "masked_select",
    "repeat_interleave",
    "bincount",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
}
"""Operators whose result in Python, or the shape of whose result, depends on values."""
_COPIES_FROM_PYTHON = {"lift_fresh"}
"""The operator of ``torch.tensor`` with Python numbers: on a GPU, a copy from memory that is not pinned."""


class HostWaits(TorchDispatchMode):
    """Records all operators, and separately those that synchronise."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.operators.add(name)
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if by_mask or name in _LOOKS_AT_VALUES | _COPIES_FROM_PYTHON:
            self.found.append(f"{func} of {[tuple(a.shape) for a in args if isinstance(a, torch.Tensor)]}")
        return func(*args, **(kwargs or {}))
