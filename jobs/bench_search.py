"""The kinds of ``python -m jobs.bench`` of searches: their options, and the functions that import what they measure."""

import argparse
import os
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.bench_kind import Kind, Progress
from mulan.benchmarks.measure import BenchmarkRefused

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report


def _add_retrieval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queries", type=arguments.positive, default=7000, help="queries to search with (default: %(default)s)"
    )
    parser.add_argument(
        "--recordings", type=arguments.positive, default=100_000, help="recordings to search (default: %(default)s)"
    )


def _retrieval(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.retrieval import bench_retrieval

    return bench_retrieval(queries=args.queries, recordings=args.recordings, rounds=args.rounds, progress=progress)


def _add_embedding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recordings", type=arguments.positive, default=240, help="recordings to embed (default: %(default)s)"
    )


def _embedding(args: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and rates are compared with a local Ray; unset it")
    from mulan.benchmarks.embedding import bench_embedding

    return bench_embedding(rounds=args.rounds, recordings=args.recordings, progress=progress)


def _add_search(parser: argparse.ArgumentParser) -> None:
    for name, default, what in (
        ("recordings", 100_000, "recordings that the server searches"),
        ("requests", 10_000, "searches that are sent to it; 0 for no server"),
        ("clients", 16, "clients that send them"),
        ("vectors", 10_000_000, "vectors in the approximate indices; 0 for none"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: %(default)s)")
    stores = ["lancedb", "faiss", "faiss_refined"]
    parser.add_argument("--stores", nargs="+", default=stores, help=f"or usearch, hnswlib (default: {stores})")


def _search(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.search import bench_search

    names = ("recordings", "requests", "clients", "vectors", "stores")
    return bench_search(**{name: getattr(args, name) for name in names}, progress=progress)


KINDS = {
    "retrieval": Kind(_add_retrieval, _retrieval),
    "embedding": Kind(_add_embedding, _embedding),
    "search": Kind(_add_search, _search),
}
