"""How much memory a computation takes at its peak, and how much is free."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch


def extra_memory_mb(run: Callable[[], object], *, device: str) -> float:
    """The peak of this process's memory while ``run`` runs, over what it held before, in MB (10^6 bytes).

    On a CPU it is resident memory, which Linux keeps the peak of; on CUDA it is what PyTorch's allocator handed out.
    What the process used once and let go of would hide an allocation that takes its place, so on a CPU it is
    handed back first.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    _hand_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far becomes what is held now (man 5 proc)
    before = _kilobytes("/proc/self/status", "VmHWM")
    run()
    return (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024 / 1e6


def held_memory_mb() -> float:
    """This process's resident memory, without what it has let go of, in MB."""
    _hand_back()
    return _kilobytes("/proc/self/status", "VmRSS") * 1024 / 1e6


def free_memory_mb(*, device: str) -> float:
    """What can still be allocated on the machine or the GPU, in MB."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] / 1e6
    return _kilobytes("/proc/meminfo", "MemAvailable") * 1024 / 1e6


def _hand_back() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(file: str, name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path(file).read_text().splitlines())
    return int(lines[name].split()[0])
