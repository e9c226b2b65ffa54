"""The kind ``gpu`` of ``python -m jobs.bench``: its options, and the files that it renews after each figure."""

import argparse
import io
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mulan.benchmarks.measure import BenchmarkRefused
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report

REPORT, TABLE = "report.json", "report.txt"
"""Names of the files in the folder, beside a folder of traces for each measured step."""
_WIDTH = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this kind to those of all kinds."""
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="time after which all measurements end (default: %(default)s)"
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="default: cuda if available; cpu measures narrow models"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/gpu"),
        help=f"folder of {REPORT}, {TABLE} and the traces, renewed after each figure (default: %(default)s)",
    )


def measure(args: argparse.Namespace, progress: Callable[[str], None]) -> "Report":
    """Takes the measurements of this kind, of which each figure is written as soon as it is there.

    Raises:
        BenchmarkRefused: There is no time, or no GPU although one is asked for.
        StorageError, StoragePermanentError: The folder cannot be written to.
    """
    if not (args.minutes > 0 and math.isfinite(args.minutes)):
        raise BenchmarkRefused(f"--minutes {args.minutes}: give a number above 0")
    filesystem.check_writable(args.folder)
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise BenchmarkRefused("--device cuda: torch finds no GPU; leave it out to measure narrow models on the CPU")
    from mulan.benchmarks.gpu import bench_gpu

    command = shlex.join(["python", "-m", "jobs.bench", *sys.argv[1:]])

    def keep(report: "Report") -> None:
        report.write(args.folder / REPORT, command=command)
        table = io.StringIO()
        report.print(Console(file=table, width=_WIDTH, highlight=False, markup=False, emoji=False))
        filesystem.write_atomically(str(args.folder / TABLE), table.getvalue().encode())

    report = bench_gpu(
        minutes=args.minutes,
        rounds=args.rounds,
        device=args.device,
        folder=args.folder,
        progress=progress,
        keep=keep,
    )
    progress(f"report and traces: {args.folder}")
    return report
