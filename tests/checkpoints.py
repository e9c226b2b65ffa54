"""Checkpoints of few whole tensors, and the whole state of an engine, gathered from all workers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mulan.distributed.collectives import all_gather_objects
from mulan.runs import checkpoint
from mulan.runs.checkpoint import read_newest
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


def part_paths(uri: str) -> list[Path]:
    """Returns the parts of a checkpoint on a local disk, in the order of the workers."""
    return sorted(Path(uri).glob("*.safetensors"))


def state_of(steps: int) -> State:
    """Returns few small tensors, which depend on the step."""
    tensor = torch.arange(3.0) + steps
    return {
        "weights.tower.weight": tensor,
        "weights.tower.count": torch.tensor(steps),
        "exp_avg.tower.weight": -tensor,
        "exp_avg_sq.tower.weight": tensor.square(),
    }


def put(run_uri: str, steps: int) -> str:
    """Writes a checkpoint of :func:`state_of` a step."""
    return write_checkpoint(run_uri, state_of(steps), Progress(steps, {"silent": steps // 2}))


def newest(run_uri: str) -> tuple[str | None, list[str]]:
    """Returns the URI of the checkpoint that is read, and the messages about corrupt ones."""
    messages: list[str] = []
    restored = read_newest(run_uri, on_corrupt=messages.append)
    if restored is not None:
        expected = state_of(restored.progress.steps_done)
        assert restored.state.keys() == expected.keys()
        for name, tensor in restored.state.items():
            assert torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype
    return (restored and restored.uri), messages


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
