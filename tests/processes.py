"""Runs functions and jobs in processes forked from one that has imported the slow libraries, optionally with gloo."""

import io
import multiprocessing
import os
import pickle
import runpy
import socket
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from mulan.data.freed_memory import keep_freed_memory

_SLOW_TO_IMPORT = ["mulan.training.worker", "deepspeed.runtime.zero.muon.muon_optimizer"]
"""Modules that are imported once, in the process that the others are forked from. DeepSpeed imports the last one when
an engine starts."""


def run_in_processes(
    function: Callable[..., Any], workers: int, *arguments: Any, folder: Path, use_gpu: bool = False
) -> list[Any]:
    """Calls ``function(*arguments)`` in each process of a group, and returns the results in rank order.

    ``function`` must be importable and its results picklable. The group uses gloo, or NCCL with one GPU for each
    process.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    _start(_process, (function, workers, port, arguments, str(folder), use_gpu), workers)
    return [_load_and_remove(folder / f"{rank}.pickle") for rank in range(workers)]


def run_job(module: str, *arguments: str, folder: Path) -> tuple[int, str, str]:
    """Runs ``python -m module arguments`` in a process with most imports done.

    Returns:
        The exit code, standard output and standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _start(_job, (module, arguments, str(folder / "job.pickle")), 1)
    result: tuple[int, str, str] = _load_and_remove(folder / "job.pickle")
    return result


def _start(function: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    multiprocessing.set_forkserver_preload(_SLOW_TO_IMPORT)
    torch.multiprocessing.start_processes(function, arguments, nprocs=count, start_method="forkserver")


def _job(_: int, module: str, arguments: tuple[str, ...], result_file: str) -> None:
    sys.argv = [module, *arguments]
    code, out, err = 0, io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
    Path(result_file).write_bytes(pickle.dumps((code, out.getvalue(), err.getvalue())))


def _load_and_remove(file: Path) -> Any:
    """Loads a file and removes it, since it may hold a whole model, and all tests share one disk."""
    try:
        return pickle.loads(file.read_bytes())
    finally:
        file.unlink()


def _process(
    rank: int,
    function: Callable[..., Any],
    workers: int,
    port: int,
    arguments: tuple[Any, ...],
    folder: str,
    use_gpu: bool,
) -> None:
    os.environ |= {
        "DS_ACCELERATOR": "cuda" if use_gpu else "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
    }
    torch.set_num_threads(1)
    keep_freed_memory()  # otherwise concurrent processes keep the kernel busy with clearing pages
    if use_gpu:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if use_gpu else "gloo", rank=rank, world_size=workers)
    try:
        Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(function(*arguments)))
    finally:
        dist.destroy_process_group()
