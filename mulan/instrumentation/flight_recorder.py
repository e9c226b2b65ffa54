"""PyTorch's flight recorder: the newest collectives of this process, and how far each of them has come."""

import pickle
import time
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import _dump_fr_trace, _dump_nccl_trace  # type: ignore[attr-defined]

FLIGHT_RECORDER = {"TORCH_FR_BUFFER_SIZE": "2000"}
"""Environment of a worker that makes it record its newest 2,000 collectives."""

_DESCRIBED = 5


def flight_record() -> bytes:
    """Returns the recorded collectives as the pickle that ``torch.distributed.flight_recorder.fr_trace`` reads.

    They are those of NCCL, or of gloo on CPUs; none without a process group.
    """
    if dist.is_initialized() and dist.get_backend() == "nccl":
        return _dump_nccl_trace()
    return _dump_fr_trace()


def describe_collectives(record: bytes) -> list[str]:
    """Returns a line for each of the newest collectives in a record of this process, the newest one last.

    A collective that this worker waits in is not completed; a worker with a lower number has not reached it.
    """
    # the pickle comes from this process
    recorded: Mapping[str, Any] = pickle.loads(record)
    entries, now_ns = recorded.get("entries", []), time.time_ns()
    return [_line(entry, now_ns) for entry in entries[-_DESCRIBED:]]


def _line(entry: Mapping[str, Any], now_ns: int) -> str:
    name, number, group = entry["profiling_name"], entry["collective_seq_id"], entry["process_group"][0]
    done = entry["retired"] or entry["state"] == "completed"
    return (
        f"{name} number {number} of group {group}, sizes {entry['input_sizes']}: "
        f"{'completed' if done else 'not completed'}, begun {(now_ns - entry['time_created_ns']) / 1e9:.1f} s ago"
    )
