"""Real processes joined by gloo."""

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from mulan.data.freed_memory import keep_freed_memory

_SLOW_TO_IMPORT = ["mulan.training.worker", "deepspeed.runtime.zero.muon.muon_optimizer"]
"""Imported once, in a process that all the others are forked from. DeepSpeed imports the last when an engine starts."""


def run_in_processes(function: Callable[..., Any], workers: int, *arguments: Any, folder: Path) -> list[Any]:
    """Calls ``function(*arguments)`` in that many processes of one gloo group; their results in rank order.

    ``function`` must be importable and its results picklable.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    multiprocessing.set_forkserver_preload(_SLOW_TO_IMPORT)
    torch.multiprocessing.start_processes(
        _process, (function, workers, port, arguments, str(folder)), nprocs=workers, start_method="forkserver"
    )
    return [_taken(folder / f"{rank}.pickle") for rank in range(workers)]


def _taken(file: Path) -> Any:
    """Its content; the file is gone then: whole models are sent this way, and all the tests share one disk."""
    try:
        return pickle.loads(file.read_bytes())
    finally:
        file.unlink()


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
    keep_freed_memory()  # several processes at work at once keep the kernel busy with clearing pages
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    try:
        Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(function(*arguments)))
    finally:
        dist.destroy_process_group()
