"""Benchmark a component against peers and goals: python -m jobs.bench loss|step|sums|data|decode|checkpoint|start

Prints progress and a table, and writes the report as JSON with --json FILE. Candidates take turns; figures are medians
with their ranges.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import arguments
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
        kind.add_argument("--rounds", type=int, default=7, help="readings of each candidate (default: %(default)s)")
        kind.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
        add(kind)
    given = parser.parse_args()
    for option in ("rounds", "steps"):
        if getattr(given, option, 1) < 1:
            raise BenchmarkRefused(f"--{option} {getattr(given, option)}: at least 1 is needed")
    if given.json:
        filesystem.check_writable(given.json.parent)
        if given.json.is_dir():
            raise BenchmarkRefused(f"--json {given.json}: is a folder; give a file")
    if getattr(given, "dry_run", False):
        print(RECIPES[given.kind](given).to_toml(), end="")
        return
    report = KINDS[given.kind][1](given, lambda text: CONSOLE.print(text, style="dim"))
    report.print(CONSOLE)
    if given.json:
        report.write(given.json)


Progress = Callable[[str], None]


def _add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=6144, help="batch size for time (default: %(default)s)")
    parser.add_argument("--memory-pairs", type=int, default=32_768, help="batch size for memory (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if available")


def _loss(given: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.loss import bench_loss

    return bench_loss(
        pairs=given.pairs,
        memory_pairs=given.memory_pairs,
        rounds=given.rounds,
        device=given.device,
        progress=progress,
    )


def _add_step(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo")
    parser.add_argument("--data", metavar="URI", help="folder of a prepared corpus; without one, batches are noise")
    parser.add_argument(
        "--engine",
        choices=["torch", "deepspeed", "ray"],
        default="torch",
        help="last engine to measure; torch needs neither Ray nor DeepSpeed, ray needs --data (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=30, help="timed steps in each reading (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=0, help="of every text of noise (default: lengths are drawn)")


def _step(given: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_step(given)
    from mulan.benchmarks.steps import bench_step

    return bench_step(
        recipe,
        engine=given.engine,
        rounds=given.rounds,
        steps=given.steps,
        tokens=given.tokens,
        progress=progress,
    )


def _recipe_to_step(given: argparse.Namespace) -> Recipe:
    recipe = arguments.recipe_of(given, data_uri=given.data)
    if recipe.data.uri:  # reports errors of the corpus here instead of in a process of the first reading
        from mulan.data.reader import MicroBatchReader

        MicroBatchReader.from_recipe(recipe)
    elif getattr(given, "engine", "") == "ray":
        raise BenchmarkRefused("--engine ray trains on a corpus: give one by --data")
    return recipe


def _add_sums(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="demo")
    parser.add_argument("--data", metavar="URI", help="folder of a prepared corpus; without one, batches are noise")
    parser.add_argument("--steps", type=int, default=20, help="steps of each kind in a reading (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=0, help="of every text of noise (default: lengths are drawn)")
    parser.add_argument("--calculate", action="store_true", help="only calculate the cost on H100s")


def _sums(given: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_step(given)
    if given.calculate:
        from mulan.benchmarks.sums_calculated import calculate_sums

        return calculate_sums(recipe)
    from mulan.benchmarks.sums import bench_sums

    return bench_sums(recipe, rounds=given.rounds, steps=given.steps, tokens=given.tokens, progress=progress)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="URI", default="", help="folder of a prepared corpus; without one, one is made"
    )
    parser.add_argument("--workers", type=int, default=0, help="decoding processes (default: one per core)")
    parser.add_argument("--pairs", type=int, default=32, help="pairs in a micro-batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window (default: %(default)s)")
    parser.add_argument(
        "--windows", type=int, default=12288, help="timed windows in each reading (default: %(default)s)"
    )


def _data(given: argparse.Namespace, progress: Progress) -> "Report":
    from mulan.benchmarks.data import bench_data

    return bench_data(
        rounds=given.rounds,
        workers=given.workers,
        pairs=given.pairs,
        seconds=given.seconds,
        windows=given.windows,
        data_uri=given.data,
        progress=progress,
    )


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="of another version of mulan, to be compared with"
    )


def _decode(given: argparse.Namespace, progress: Progress) -> "Report":
    if given.against and not (given.against / "mulan" / "data").is_dir():
        raise BenchmarkRefused(f"--against {given.against}: there is no mulan; name a folder that git checked out")
    from mulan.benchmarks.decode import bench_decode

    against = given.against.resolve() if given.against else None
    return bench_decode(rounds=given.rounds, against=against, progress=progress)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="m_resnet50")


def _checkpoint(given: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_save(given)
    from mulan.benchmarks.checkpoints import bench_checkpoint

    return bench_checkpoint(recipe, rounds=given.rounds, progress=progress)


def _recipe_to_save(given: argparse.Namespace) -> Recipe:
    return arguments.recipe_of(given, data_uri=None)


def _add_start(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the benchmark of starts has no options."""


def _start(given: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and starts are measured with a local Ray; unset it")
    from mulan.benchmarks.start import bench_start

    return bench_start(rounds=given.rounds, progress=progress)


RECIPES = {"step": _recipe_to_step, "sums": _recipe_to_step, "checkpoint": _recipe_to_save}
"""The functions that return the recipe of a benchmark, for the kinds that use one."""

Add = Callable[[argparse.ArgumentParser], None]
Measure = Callable[[argparse.Namespace, Progress], "Report"]
KINDS: dict[str, tuple[Add, Measure]] = {
    "loss": (_add_loss, _loss),
    "step": (_add_step, _step),
    "sums": (_add_sums, _sums),
    "data": (_add_data, _data),
    "decode": (_add_decode, _decode),
    "checkpoint": (_add_checkpoint, _checkpoint),
    "start": (_add_start, _start),
}
"""The functions that add the arguments of each kind of benchmark, and that run it, importing its libraries."""


if __name__ == "__main__":
    arguments.end(main)
