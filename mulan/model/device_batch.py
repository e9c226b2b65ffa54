"""Batches on the training device."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from mulan.data.batch import NOT_PREDICTED, Batch, Masks
from mulan.model.outputs import Hidden
from mulan.model.towers.text import LengthGroup, length_groups


@dataclass(frozen=True)
class DeviceMasks:
    """What is hidden of a micro-batch, and what is to be predicted of it."""

    hidden: Hidden
    token_targets: torch.Tensor
    """int64 [n], of the tokens to be predicted."""
    matched: torch.Tensor
    """uint8 [m], 0 where the caption is that of another recording."""


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
    recordings: torch.Tensor
    """int64 [m], the same number for the same recording and no other."""
    groups: Sequence[LengthGroup]
    """Texts of like length; see :func:`mulan.model.towers.text.length_groups`."""
    masks: DeviceMasks | None
    """None where nothing is hidden."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The arguments of the model's forward: without text where the batch has none."""
        if not self.token_ids.shape[1]:
            return (self.waveform,)
        if self.masks is not None:
            return (self.waveform, self.token_ids, self.attention_mask, self.masks.hidden)
        return (self.waveform, self.token_ids, self.attention_mask, self.groups)


def to_device(batch: Batch, device: torch.device, *, text_groups: int) -> DeviceBatch:
    """Copies a batch to the device.

    To a GPU the copy is queued from pinned memory on a stream of its own and only the work that is queued after it
    waits for it: while the GPU computes with one micro-batch, the next ones travel.

    Args:
        text_groups: in how many groups of like length the texts are encoded.
    """
    if device.type != "cuda":
        return _copied(batch, text_groups, lambda array: torch.tensor(array, device=device))
    stream, computing = _copy_stream(device), torch.cuda.current_stream(device)
    copies: list[torch.Tensor] = []

    def queue(array: np.ndarray) -> torch.Tensor:
        copies.append(torch.tensor(array).pin_memory().to(device, non_blocking=True))
        return copies[-1]

    with torch.cuda.stream(stream):
        copied = _copied(batch, text_groups, queue)
    computing.wait_stream(stream)
    for tensor in copies:
        tensor.record_stream(computing)  # its memory is not used again before the work on it is done
    return copied


def _copied(batch: Batch, text_groups: int, copy: Callable[[np.ndarray], torch.Tensor]) -> DeviceBatch:
    groups = length_groups(batch.attention_mask, text_groups) if batch.token_ids.shape[1] else ()
    return DeviceBatch(
        batch,
        waveform=copy(batch.waveform),
        token_ids=copy(batch.token_ids),
        attention_mask=copy(batch.attention_mask),
        tags=copy(batch.tags),
        recordings=copy(_numbers(batch.recording_id)),
        groups=tuple(LengthGroup(copy(group.rows.numpy()), group.longest) for group in groups),
        masks=_copied_masks(batch.masks, copy) if batch.masks is not None else None,
    )


def _copied_masks(masks: Masks, copy: Callable[[np.ndarray], torch.Tensor]) -> DeviceMasks:
    # places are found on the host: the device would have to be waited for
    predicted = np.flatnonzero(masks.token_targets != NOT_PREDICTED)
    hidden = Hidden(
        segments=copy(masks.segment_hidden),
        segment_places=copy(np.flatnonzero(masks.segment_hidden)),
        token_places=copy(predicted),
    )
    return DeviceMasks(hidden, copy(masks.token_targets.reshape(-1)[predicted]), copy(masks.matched))


def _numbers(names: Sequence[str]) -> np.ndarray:
    """int64 [m]: eight bytes of a hash of each name. Two of 10,000 names have the same by a chance of one in 10**11."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, np.int64)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
