"""The kinds of ``python -m jobs.bench`` of training: their options, and the functions that import what they measure."""

import argparse
import os
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.bench_kind import Kind, Progress
from mulan.benchmarks.measure import BenchmarkRefused
from mulan.config.recipe import Recipe

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report


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


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    arguments.add_recipe(parser, default="m_resnet50")


def _checkpoint(args: argparse.Namespace, progress: Progress) -> "Report":
    recipe = _recipe_to_save(args)
    from mulan.benchmarks.checkpoints import bench_checkpoint

    return bench_checkpoint(recipe, rounds=args.rounds, progress=progress)


def _add_start(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the benchmark of starts has no options."""


def _start(args: argparse.Namespace, progress: Progress) -> "Report":
    if os.environ.get("RAY_ADDRESS"):
        raise BenchmarkRefused("RAY_ADDRESS is set, and starts are measured with a local Ray; unset it")
    from mulan.benchmarks.start import bench_start

    return bench_start(rounds=args.rounds, progress=progress)


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


def _recipe_to_step(args: argparse.Namespace) -> Recipe:
    recipe = arguments.recipe_of(args, data_uri=args.data)
    if recipe.data.uri:  # reports errors of the corpus here instead of in a process of the first measurement
        from mulan.data.reader import MicroBatchReader

        MicroBatchReader.from_recipe(recipe)
    elif getattr(args, "engine", "") == "ray":
        raise BenchmarkRefused("--engine ray trains on a corpus: give one by --data")
    return recipe


def _recipe_to_publish(args: argparse.Namespace) -> Recipe:
    return arguments.recipe_of(args, data_uri=None).replace({"scale.workers": 1})


def _recipe_to_save(args: argparse.Namespace) -> Recipe:
    return arguments.recipe_of(args, data_uri=None)


KINDS = {
    "loss": Kind(_add_loss, _loss),
    "step": Kind(_add_step, _step, _recipe_to_step),
    "sums": Kind(_add_sums, _sums, _recipe_to_step),
    "metrics": Kind(_add_metrics, _metrics, _recipe_to_publish),
    "checkpoint": Kind(_add_checkpoint, _checkpoint, _recipe_to_save),
    "start": Kind(_add_start, _start),
    "variants": Kind(_add_variants, _variants, _recipe_to_step),
}
