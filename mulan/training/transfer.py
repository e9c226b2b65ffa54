"""Batches on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from mulan.data.batch import Batch
from mulan.model.text_lengths import LengthGroup, length_groups


@dataclass(frozen=True)
class DeviceBatch:
    """A micro-batch as the model takes it."""

    batch: Batch
    """Where it came from, on the host."""
    waveform: torch.Tensor
    """int16 [m, views, samples]."""
    token_ids: torch.Tensor
    """int64 [m, L]."""
    attention_mask: torch.Tensor
    """int64 [m, L]."""
    tags: torch.Tensor
    """uint8 [m, C]."""
    groups: Sequence[LengthGroup]
    """Texts of like length; see :func:`mulan.model.text_lengths.length_groups`."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The arguments of the model's forward: without text where the batch has none."""
        if not self.token_ids.shape[1]:
            return (self.waveform,)
        return (self.waveform, self.token_ids, self.attention_mask, self.groups)


def to_device(batch: Batch, device: torch.device, *, text_groups: int) -> DeviceBatch:
    """Copies a batch to the device.

    To a GPU the copy is queued from pinned memory on a stream of its own and only the work that is queued after it
    waits for it: while the GPU computes with one micro-batch, the next ones travel.

    Args:
        text_groups: in how many groups of like length the texts are encoded.
    """
    groups = length_groups(batch.attention_mask, text_groups) if batch.token_ids.shape[1] else ()
    arrays = (batch.waveform, batch.token_ids, batch.attention_mask, batch.tags)
    if device.type != "cuda":
        waveform, token_ids, attention_mask, tags = (torch.tensor(array, device=device) for array in arrays)
        return DeviceBatch(batch, waveform, token_ids, attention_mask, tags, groups)
    stream = _copy_stream(device)
    with torch.cuda.stream(stream):
        waveform, token_ids, attention_mask, tags = (_queued(array, device) for array in arrays)
        groups = tuple(LengthGroup(_queued(group.rows.numpy(), device), group.longest) for group in groups)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(stream)
    for tensor in (waveform, token_ids, attention_mask, tags, *(group.rows for group in groups)):
        tensor.record_stream(computing)  # its memory is not used again before the work on it is done
    return DeviceBatch(batch, waveform, token_ids, attention_mask, tags, groups)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _queued(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.tensor(array).pin_memory().to(device, non_blocking=True)
