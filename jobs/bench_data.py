"""The kinds of ``python -m jobs.bench`` of data: their options, and the functions that import what they measure."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.bench_kind import Kind, Progress
from mulan.benchmarks.measure import BenchmarkRefused

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="URI", default="", help="folder of a prepared corpus (default: generate one)")
    parser.add_argument(
        "--format", choices=("flac", "mp3"), default="flac", help="format of the generated one (default: %(default)s)"
    )
    parser.add_argument(
        "--storage",
        choices=("local", "s3"),
        default="local",
        help="where the generated one is: on the disk, or behind an S3 server with a delay (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=0, help="decoding processes (default: one per core)")
    parser.add_argument("--pairs", type=int, default=32, help="pairs in a micro-batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window (default: %(default)s)")
    parser.add_argument(
        "--windows", type=int, default=12288, help="timed windows per measurement (default: %(default)s)"
    )


def _data(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.data import bench_data

    return bench_data(
        rounds=args.rounds,
        workers=args.workers,
        pairs=args.pairs,
        seconds=args.seconds,
        windows=args.windows,
        data_uri=args.data,
        audio_format=args.format,
        storage=args.storage,
        progress=progress,
    )


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="checkout of another version of mulan to compare with"
    )


def _decode(args: argparse.Namespace, progress: Progress) -> "Report":
    if args.against and not os.path.isdir(args.against / "mulan" / "data"):
        raise BenchmarkRefused(f"--against {args.against}: there is no mulan; name a folder that git checked out")
    from mulan.benchmarks.decode import bench_decode

    against = args.against.resolve() if args.against else None
    return bench_decode(rounds=args.rounds, against=against, progress=progress)


def _add_adoption(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recordings", type=int, default=100_000, help="recordings to adopt (default: %(default)s)")


def _adoption(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.adoption import bench_adoption

    return bench_adoption(recordings=args.recordings, rounds=args.rounds, progress=progress)


def _add_preparation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recordings",
        type=arguments.positive,
        default=400,
        help="recordings of the smaller of two sizes (default: %(default)s)",
    )


def _preparation(args: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and memory is measured with a local Ray; unset it")
    from mulan.benchmarks.preparation import bench_preparation

    return bench_preparation(rounds=args.rounds, recordings=args.recordings, progress=progress)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", type=arguments.positive, default=44_000_000, help="rows of the index (default: %(default)s)"
    )


def _index(args: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and readers are measured with a local Ray; unset it")
    from mulan.benchmarks.index import bench_index

    return bench_index(rows=args.rows, rounds=args.rounds, progress=progress)


KINDS = {
    "data": Kind(_add_data, _data),
    "decode": Kind(_add_decode, _decode),
    "index": Kind(_add_index, _index),
    "adoption": Kind(_add_adoption, _adoption),
    "preparation": Kind(_add_preparation, _preparation),
}
