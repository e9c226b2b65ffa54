"""Micro-batches on the training device."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from mulan.data.batch import NOT_PREDICTED, Batch, Masks
from mulan.model.outputs import MaskedPositions
from mulan.model.towers.text_lengths import LengthGroup, length_groups


@dataclass(frozen=True)
class DeviceMasks:
    """The masks and targets of MuLaP's terms for a micro-batch."""

    positions: MaskedPositions
    """Masked segments and predicted tokens."""
    token_targets: torch.Tensor
    """Ids of the predicted tokens, int64 [n]."""
    matched: torch.Tensor
    """Match labels, uint8 [m]: 0 if the caption belongs to another recording."""


@dataclass(frozen=True)
class DeviceBatch:
    """A micro-batch on the training device, with the inputs of the model."""

    batch: Batch
    """The same micro-batch on the host."""
    waveform: torch.Tensor
    """Samples of each recording's views, int16 [m, views, samples]."""
    token_ids: torch.Tensor
    """Token ids of the texts, int64 [m, L]; L is 0 without texts."""
    attention_mask: torch.Tensor
    """Attention mask of the texts, int64 [m, L]: 1 for tokens and 0 for padding."""
    tags: torch.Tensor
    """Multi-hot labels, uint8 [m, C]."""
    recordings: torch.Tensor
    """Integer id of each recording, int64 [m]; equal only for equal recordings."""
    texts: torch.Tensor
    """Integer id of each text, int64 [m]; equal only for equal tokens, whatever the padding."""
    groups: Sequence[LengthGroup]
    """Texts grouped by length; see :func:`mulan.model.towers.text_lengths.length_groups`."""
    masks: DeviceMasks | None
    """Masks and targets; None if nothing is masked."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The arguments of the model's ``forward``, without text if the batch has none."""
        if not self.token_ids.shape[1]:
            return (self.waveform,)
        if self.masks is not None:
            return (self.waveform, self.token_ids, self.attention_mask, self.masks.positions)
        return (self.waveform, self.token_ids, self.attention_mask, self.groups)


def to_device(batch: Batch, device: torch.device, *, text_groups: int) -> DeviceBatch:
    """Copies a batch to the device.

    Copies to a GPU are queued from pinned memory on a separate stream, and only work that is queued later waits for
    them: the next micro-batches are transferred while the GPU processes the current one.

    Args:
        text_groups: Number of length groups in which the texts are encoded.
    """
    if device.type != "cuda":
        return _copy_batch(batch, text_groups, lambda array: torch.tensor(array, device=device))
    stream, compute_stream = _copy_stream(device), torch.cuda.current_stream(device)
    copies: list[torch.Tensor] = []

    def queue(array: np.ndarray) -> torch.Tensor:
        copies.append(_pinned(array).to(device, non_blocking=True))
        return copies[-1]

    with torch.cuda.stream(stream):
        copied = _copy_batch(batch, text_groups, queue)
    compute_stream.wait_stream(stream)
    for tensor in copies:
        tensor.record_stream(compute_stream)  # its memory must not be reused before this work has finished
    return copied


def _pinned(array: np.ndarray) -> torch.Tensor:
    """Copies an array, which may be read-only, to pinned memory: once, not first to a tensor in other memory."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    pinned = torch.empty(array.shape, dtype=dtype, pin_memory=True)
    pinned.numpy()[...] = array
    return pinned


def _copy_batch(batch: Batch, text_groups: int, copy: Callable[[np.ndarray], torch.Tensor]) -> DeviceBatch:
    groups = length_groups(batch.attention_mask, text_groups) if batch.token_ids.shape[1] else ()
    return DeviceBatch(
        batch,
        waveform=copy(batch.waveform),
        token_ids=copy(batch.token_ids),
        attention_mask=copy(batch.attention_mask),
        tags=copy(batch.tags),
        recordings=copy(_integer_ids([name.encode() for name in batch.recording_id])),
        texts=copy(_integer_ids(_tokens(batch))),
        groups=tuple(LengthGroup(copy(group.rows.numpy()), group.max_length) for group in groups),
        masks=_copy_masks(batch.masks, copy) if batch.masks is not None else None,
    )


def _copy_masks(masks: Masks, copy: Callable[[np.ndarray], torch.Tensor]) -> DeviceMasks:
    # indices are computed on the host: on the device, nonzero would synchronise
    predicted = np.flatnonzero(masks.token_targets != NOT_PREDICTED)
    positions = MaskedPositions(
        segments=copy(masks.segment_hidden),
        segment_indices=copy(np.flatnonzero(masks.segment_hidden)),
        token_indices=copy(predicted),
    )
    return DeviceMasks(positions, copy(masks.token_targets.reshape(-1)[predicted]), copy(masks.matched))


def _tokens(batch: Batch) -> list[bytes]:
    """Returns the tokens of each text without padding, which depends on the other texts of the micro-batch."""
    texts = zip(batch.token_ids, batch.attention_mask, strict=True)
    return [token_ids[mask == 1].tobytes() for token_ids, mask in texts]


def _integer_ids(contents: Sequence[bytes]) -> np.ndarray:
    """Hashes m contents to int64 [m]. The probability of any collision among 10,000 is about 3e-12."""
    digests = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(digests, np.int64)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
