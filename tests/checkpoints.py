"""Checkpoints of few whole tensors, and the whole state of an engine, gathered from all workers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mulan.distributed.collectives import all_gather_objects
from mulan.runs import checkpoint
from mulan.runs.state_parts import PartCopy
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.state import Progress
from mulan.training.tensor_slices import TensorSlice

State = dict[str, torch.Tensor]


def slices_of(state: Mapping[str, torch.Tensor]) -> list[TensorSlice]:
    return [TensorSlice.whole(name, tensor) for name, tensor in state.items()]


def write_checkpoint(run_uri: str, state: Mapping[str, torch.Tensor], progress: Progress, **named: Any) -> str:
    """Writes a checkpoint of whole tensors in a single part."""
    return checkpoint.write_checkpoint(run_uri, PartCopy(slices_of(state)), progress, **named)


def whole_state(engine: CheckpointedEngine) -> State:
    """Returns the state of all workers, put together without any file. Collective."""
    found: State = {}
    filled: dict[str, torch.Tensor] = {}
    # copies: a pickled slice of a larger tensor would contain the whole of it
    own_slices = [replace(one, values=one.values.clone()) for one in engine.own_state()]
    for own in all_gather_objects(own_slices):
        for one in own:
            whole = found.setdefault(one.name, torch.empty(one.shape, dtype=one.values.dtype))
            times = filled.setdefault(one.name, torch.zeros(whole.numel(), dtype=torch.uint8))
            where = slice(one.start, one.start + one.values.numel())
            whole.view(-1)[where] = one.values.reshape(-1).cpu()
            times[where] += 1
    assert [name for name, times in filled.items() if not bool((times == 1).all())] == []
    return found
