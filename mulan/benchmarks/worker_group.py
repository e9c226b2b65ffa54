"""Training processes on this machine, joined as a run's workers are, for readings that need a group of them."""

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
"""Its processes end without Python's teardown. Spawned ones, in which DeepSpeed keeps the process group alive, now and
then abort in theirs: a thread of gloo lets go of its last tensor and asks for an interpreter that is gone."""

Reading = dict[str, float]


def read_in_workers(read: Callable[..., Reading], scale: ScaleConfig, *arguments: Any) -> list[Reading]:
    """Calls ``read(*arguments, device)`` in the most workers of the scale: processes of gloo, or of NCCL with a GPU
    each. Their results in rank order.

    Args:
        read: importable.
    """
    workers = scale.max_workers
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    results = get_context(_START_METHOD).SimpleQueue()
    start_processes(  # type: ignore[no-untyped-call]
        _worker, (scale, port, read, arguments, results), nprocs=workers, start_method=_START_METHOD
    )
    found: dict[int, Reading] = dict(results.get() for _ in range(workers))
    return [found[rank] for rank in range(workers)]


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
