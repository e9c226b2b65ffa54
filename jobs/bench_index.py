"""The kind ``index`` of ``python -m jobs.bench``."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs import arguments

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this kind to those of all kinds."""
    parser.add_argument(
        "--rows", type=arguments.positive, default=44_000_000, help="rows of the index (default: %(default)s)"
    )


def measure(args: argparse.Namespace, progress: Callable[[str], None]) -> "Report":
    """Takes the measurements of this kind."""
    from mulan.benchmarks.index import bench_index

    return bench_index(rows=args.rows, rounds=args.rounds, progress=progress)
