"""Benchmark mulan: python -m jobs.bench KIND

Kinds: loss, step, sums, metrics, data, decode, checkpoint, start, index, adoption, variants, preparation, retrieval,
embedding, search, gpu.
Prints progress and a table, and writes the report as JSON with --json FILE. Candidates take turns; figures are medians
with their ranges.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import arguments, bench_gpu, bench_index
from jobs.arguments import CONSOLE
from mulan.benchmarks.measure import BenchmarkRefused
from mulan.config.recipe import Recipe
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.bench", description=__doc__.split("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, (add, _) in KINDS.items():
        kind = kinds.add_parser(name)
        kind.add_argument("--rounds", type=int, default=7, help="measurements of each candidate (default: %(default)s)")
        kind.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
        add(kind)
    args = parser.parse_args()
    for option in ("rounds", "steps", "recordings"):
        if getattr(args, option, 1) < 1:
            raise BenchmarkRefused(f"--{option} {getattr(args, option)}: at least 1 is needed")
    if args.json:
        filesystem.check_writable(args.json.parent)
        try:
            is_folder = args.json.is_dir()
        except OSError as error:  # such as a name that is too long, which would lose the report at the end
            raise BenchmarkRefused(f"--json {args.json}: cannot be written: {error.strerror}") from error
        if is_folder:
            raise BenchmarkRefused(f"--json {args.json}: is a folder; give a file")
    if getattr(args, "dry_run", False):
        print(RECIPES[args.kind](args).to_toml(), end="")
        return
    report = KINDS[args.kind][1](args, lambda text: CONSOLE.print(text, style="dim"))
    report.print(CONSOLE)
    if args.json:
        report.write(args.json, command=shlex.join(["python", "-m", "jobs.bench", *sys.argv[1:]]))


Progress = Callable[[str], None]


def _add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=6144, help="batch size (default: %(default)s)")
    parser.add_argument("--memory-pairs", type=int, default=32_768, help="larger batch size (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if available")


def _loss(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.loss import bench_loss

    names = ("pairs", "memory_pairs", "rounds", "device")
    return bench_loss(**{name: getattr(args, name) for name in names}, progress=progress)


def _add_step(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo")
    parser.add_argument("--data", metavar="URI", help="folder of a prepared corpus (default: synthetic batches)")
    parser.add_argument(
        "--engine",
        choices=["torch", "deepspeed", "ray"],
        default="torch",
        help="last engine to measure; torch needs neither Ray nor DeepSpeed, ray needs --data (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=30, help="timed steps per measurement (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=0, help="length of every synthetic text (default: random)")


def _step(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_step(args)
    from mulan.benchmarks.steps import bench_step

    return bench_step(
        recipe,
        engine=args.engine,
        rounds=args.rounds,
        steps=args.steps,
        tokens=args.tokens,
        progress=progress,
    )


def _recipe_to_step(args: argparse.Namespace) -> Recipe:
    recipe = arguments.recipe_of(args, data_uri=args.data)
    if recipe.data.uri:  # reports errors of the corpus here instead of in a process of the first measurement
        from mulan.data.reader import MicroBatchReader

        MicroBatchReader.from_recipe(recipe)
    elif getattr(args, "engine", "") == "ray":
        raise BenchmarkRefused("--engine ray trains on a corpus: give one by --data")
    return recipe


def _add_sums(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo")
    parser.add_argument("--data", metavar="URI", help="folder of a prepared corpus (default: synthetic batches)")
    parser.add_argument(
        "--steps", type=int, default=20, help="timed steps of each kind per measurement (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=0, help="length of every synthetic text (default: random)")
    parser.add_argument("--calculate", action="store_true", help="only calculate the cost on H100s")


def _sums(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_step(args)
    if args.calculate:
        from mulan.benchmarks.sums_calculated import calculate_sums

        return calculate_sums(recipe)
    from mulan.benchmarks.sums import bench_sums

    return bench_sums(recipe, rounds=args.rounds, steps=args.steps, tokens=args.tokens, progress=progress)


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo_miniature")
    parser.add_argument(
        "--steps", type=int, default=200, help="timed steps of each kind per measurement (default: %(default)s)"
    )


def _metrics(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_publish(args)
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and metrics are measured with a local Ray; unset it")
    from mulan.benchmarks.metrics import bench_metrics

    return bench_metrics(recipe, rounds=args.rounds, steps=args.steps, progress=progress)


def _recipe_to_publish(args: argparse.Namespace) -> Recipe:
    return arguments.recipe_of(args, data_uri=None).replace({"scale.workers": 1})


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="URI", default="", help="folder of a prepared corpus (default: generate one)")
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


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="m_resnet50")


def _checkpoint(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_save(args)
    from mulan.benchmarks.checkpoints import bench_checkpoint

    return bench_checkpoint(recipe, rounds=args.rounds, progress=progress)


def _recipe_to_save(args: argparse.Namespace) -> Recipe:
    return arguments.recipe_of(args, data_uri=None)


def _add_start(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the benchmark of starts has no options."""


def _start(args: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and starts are measured with a local Ray; unset it")
    from mulan.benchmarks.start import bench_start

    return bench_start(rounds=args.rounds, progress=progress)


def _add_adoption(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recordings", type=int, default=100_000, help="recordings to adopt (default: %(default)s)")


def _adoption(args: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.adoption import bench_adoption

    return bench_adoption(recordings=args.recordings, rounds=args.rounds, progress=progress)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo")
    parser.add_argument("--data", metavar="URI", required=True, help="folder of a prepared corpus with a test split")
    parser.add_argument(
        "--storage",
        metavar="URI",
        default="runs/variants",
        help="folder of the readings, which are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="train only this variant, such as 'cosine decay'; may be repeated",
    )


def _variants(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_step(args)
    from mulan.benchmarks.variants import bench_variants

    return bench_variants(recipe, args.storage, names=args.only, rounds=args.rounds, progress=progress)


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


RECIPES = {
    "step": _recipe_to_step,
    "sums": _recipe_to_step,
    "metrics": _recipe_to_publish,
    "checkpoint": _recipe_to_save,
    "variants": _recipe_to_step,
}
"""The functions that return the recipe of a benchmark, for the kinds that use one."""

Add = Callable[[argparse.ArgumentParser], None]
Measure = Callable[[argparse.Namespace, Progress], "Report"]
KINDS: dict[str, tuple[Add, Measure]] = {
    "loss": (_add_loss, _loss),
    "step": (_add_step, _step),
    "sums": (_add_sums, _sums),
    "metrics": (_add_metrics, _metrics),
    "data": (_add_data, _data),
    "decode": (_add_decode, _decode),
    "checkpoint": (_add_checkpoint, _checkpoint),
    "start": (_add_start, _start),
    "index": (bench_index.add_arguments, bench_index.measure),
    "adoption": (_add_adoption, _adoption),
    "variants": (_add_variants, _variants),
    "preparation": (_add_preparation, _preparation),
    "retrieval": (_add_retrieval, _retrieval),
    "embedding": (_add_embedding, _embedding),
    "search": (_add_search, _search),
    "gpu": (bench_gpu.add_arguments, bench_gpu.measure),
}
"""The functions that add the arguments of each kind of benchmark, and that run it, importing its libraries."""


if __name__ == "__main__":
    arguments.end(main)
