"""What kind of device each worker computes on.

Results are the same bits only on one kind: another model of GPU, another processor, another number of threads of a CPU
worker or another build of torch adds in another order. A checkpoint remembers all kinds that its steps were made on,
and a run that goes on elsewhere says so. The machines that only read are not among them: what they decode and resample
is rounded to int16, and is taken to be the same on all processors of a cluster.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from mulan.training.state import Progress

ONLY_ON_ONE_KIND = "results are the same bits only on one kind of device"

_CPUINFO = Path("/proc/cpuinfo")


def device_kind(device: torch.device, *, threads: int) -> str:
    """Returns in words what a device's results depend on: its model, and torch with what that was built for.

    Args:
        threads: of a CPU worker; those of a GPU's host change no result.
    """
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{cpu_kind(threads=threads)}, torch {torch.__version__}"


def cpu_kind(*, threads: int) -> str:
    """Returns the processor, the widest instructions that torch uses on it, and the number of threads, in words."""
    about = _processor()
    name = about.get("model name", "of an unknown name")  # Linux on Arm gives none
    numbers = [f"{key} {about[key]}" for key in ("cpu family", "model", "CPU part") if key in about]
    counted = f"{threads} thread{'' if threads == 1 else 's'}"
    return f"CPU {name} ({', '.join([*numbers, torch.backends.cpu.get_cpu_capability(), counted])})"


def _processor() -> dict[str, str]:
    """What Linux tells of the first processor, by name; nothing where there is no such file."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in lines]
    about: dict[str, str] = {}
    for name, _, value in pairs:
        about.setdefault(name.strip(), value.strip())
    return about


def told_of(kinds: Sequence[str]) -> str:
    """Returns the kinds of all workers in words: the one that they have, or each with the ranks of its workers."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, kind in enumerate(kinds):
        ranks[kind].append(rank)
    if len(ranks) == 1:
        return kinds[0]
    return "; ".join(
        f"worker{'s' if len(those) > 1 else ''} {', '.join(map(str, those))}: {kind}" for kind, those in ranks.items()
    )


def cautions(kinds: Sequence[str], found: Progress | None) -> list[str]:
    """What whoever relies on equal bits must know of an attempt, a sentence each.

    Args:
        kinds: of all workers, by rank.
        found: of the checkpoint that the attempt goes on from.
    """
    told = []
    if len(set(kinds)) > 1:
        told.append(f"{ONLY_ON_ONE_KIND}, and the workers have several: {told_of(kinds)}")
    if found is not None and found.trained_on and set(found.trained_on) != set(kinds):
        before = " and ".join(found.trained_on)
        told.append(
            f"{ONLY_ON_ONE_KIND}: the steps up to {found.steps_done} were made on {before}, and those that follow are "
            f"made on {' and '.join(sorted(set(kinds)))}"
        )
    return told
