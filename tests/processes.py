"""Real processes joined by gloo."""

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing


def run_in_processes(function: Callable[..., Any], workers: int, *arguments: Any, folder: Path) -> list[Any]:
    """Calls ``function(*arguments)`` in that many processes of one gloo group; their results in rank order.

    ``function`` must be importable and its results picklable.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    torch.multiprocessing.spawn(_process, (function, workers, port, arguments, str(folder)), nprocs=workers)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(workers)]


def _process(
    rank: int, function: Callable[..., Any], workers: int, port: int, arguments: tuple[Any, ...], folder: str
) -> None:
    os.environ |= {
        "DS_ACCELERATOR": "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
    }
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    try:
        Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(function(*arguments)))
    finally:
        dist.destroy_process_group()
