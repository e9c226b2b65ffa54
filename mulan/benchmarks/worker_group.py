"""Process groups on this machine, set up like a run's workers, for measurements that need several processes."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import start_processes

from mulan.config.sections import ScaleConfig

_START_METHOD = "forkserver"
"""Start method whose processes exit without Python's finalization. In spawned processes, where DeepSpeed keeps the
process group alive, a gloo thread may release its last tensor after the interpreter has exited, and abort."""

Reading = dict[str, float]


def read_in_workers(read: Callable[..., Reading], scale: ScaleConfig, *arguments: Any) -> list[Reading]:
    """Calls ``read(*arguments, device)`` in each worker, and returns the results in rank order.

    Workers are CPU processes with gloo, or processes with one GPU each and NCCL.

    Args:
        read: Importable function.
        scale: Section whose maximum number of workers is started.
        arguments: Arguments of ``read``.
    """
    workers = scale.max_workers
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    results = get_context(_START_METHOD).SimpleQueue()
    start_processes(  # type: ignore[no-untyped-call]
        _worker, (scale, port, read, arguments, results), nprocs=workers, start_method=_START_METHOD
    )
    readings: dict[int, Reading] = dict(results.get() for _ in range(workers))
    return [readings[rank] for rank in range(workers)]


def _worker(
    rank: int, scale: ScaleConfig, port: int, read: Callable[..., Reading], arguments: tuple[Any, ...], results: Any
) -> None:
    workers = scale.max_workers
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TOKENIZERS_PARALLELISM": "false"}
    if not scale.use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    torch.set_num_threads(scale.cpus_per_worker)
    device = torch.device("cuda", rank) if scale.use_gpu else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=workers)
    try:
        results.put((rank, read(*arguments, device)))
    finally:
        dist.destroy_process_group()
