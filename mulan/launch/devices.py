"""The kind of device that each worker computes on.

Results are identical to the bit only on one kind of device: another model of GPU, another processor, another number of
threads of a CPU worker or another build of torch adds in another order. A checkpoint records all kinds on which its
steps were trained, and a run that resumes on another kind reports it. Machines that only read data do not count: what
they decode and resample is rounded to int16, and assumed to be the same on all processors of a cluster.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from mulan.training.state import Progress

ONLY_ON_ONE_KIND = "results are bit-identical only on one kind of device"

_CPUINFO = Path("/proc/cpuinfo")


def device_kind(device: torch.device, *, threads: int) -> str:
    """Describes what the results of a device depend on: its model, and the version and build of torch.

    Args:
        threads: The number of threads of a CPU worker; those of a GPU's host do not affect results.
    """
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{cpu_kind(threads=threads)}, torch {torch.__version__}"


def cpu_kind(*, threads: int) -> str:
    """Describes the processor, the widest instruction set that torch uses on it, and the number of threads."""
    about = _processor()
    name = about.get("model name", "of unknown model")  # Linux on Arm states none
    numbers = [f"{key} {about[key]}" for key in ("cpu family", "model", "CPU part") if key in about]
    counted = f"{threads} thread{'' if threads == 1 else 's'}"
    return f"CPU {name} ({', '.join([*numbers, torch.backends.cpu.get_cpu_capability(), counted])})"


def _processor() -> dict[str, str]:
    """Returns the fields of the first processor in ``/proc/cpuinfo``; empty without that file."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in lines]
    about: dict[str, str] = {}
    for name, _, value in pairs:
        about.setdefault(name.strip(), value.strip())
    return about


def describe_devices(kinds: Sequence[str]) -> str:
    """Describes the kinds of all workers: the common one, or each with the ranks of its workers."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, kind in enumerate(kinds):
        ranks[kind].append(rank)
    if len(ranks) == 1:
        return kinds[0]
    return "; ".join(
        f"worker{'s' if len(those) > 1 else ''} {', '.join(map(str, those))}: {kind}" for kind, those in ranks.items()
    )


def reproducibility_warnings(kinds: Sequence[str], progress: Progress | None) -> list[str]:
    """Returns a warning for each reason why an attempt may not give bit-identical results.

    Args:
        kinds: The kinds of device of all workers, by rank.
        progress: The progress of the checkpoint that the attempt resumes from.
    """
    warnings = []
    if len(set(kinds)) > 1:
        warnings.append(f"{ONLY_ON_ONE_KIND}, and the workers have several: {describe_devices(kinds)}")
    if progress is not None and progress.trained_on and set(progress.trained_on) != set(kinds):
        before = " and ".join(progress.trained_on)
        warnings.append(
            f"{ONLY_ON_ONE_KIND}: steps up to {progress.steps_done} were trained on {before}, and later ones are "
            f"trained on {' and '.join(sorted(set(kinds)))}"
        )
    return warnings
