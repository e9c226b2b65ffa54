"""The precision that towers compute in."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]


def tower_autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """In ``bf16``, matrix products and convolutions compute in bfloat16; weights stay float32."""
    # no cache of cast weights: each is used once, and under ZeRO stage 3 its storage is gone after its layer
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
