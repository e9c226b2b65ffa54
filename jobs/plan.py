"""Plan a run: python -m jobs.plan --recipe m_ast --data URI --gpus N

Prints what a run will need before it is submitted: steps and epochs, hours of GPUs, CPUs that read and decode, requests
and bytes, memory, checkpoints, and the cost by a table of prices. It trains nothing and starts no cluster; it reads a
few micro-batches of the corpus to measure how long decoding takes on this machine, and builds the model.

The speed is that of a run of the same model (``--measured``), or is given (``--pairs-per-s``); without either it is
calculated from the model's FLOPs and a share of a GPU's peak. With ``--compare RUN_URI``, a finished run is predicted
from its first steps, and the prediction is compared with the rest.
"""

import argparse
import json
from dataclasses import asdict
from typing import Any

from jobs import arguments
from jobs.arguments import CONSOLE
from mulan.config.errors import ErrorCollection
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.planning.measured import MeasuredSteps, check_comparable, measured_steps
from mulan.planning.prices import Prices, read_prices
from mulan.runs.run import Run
from mulan.storage import filesystem

PEAK = "NVIDIA H100 80GB HBM3"
PEAK_SHARE = 0.4
"""Share of a GPU's peak at which model FLOPs are computed, unless another is given: that of well-tuned training of
large transformers (Chowdhery et al. 2022, PaLM, table 3, gives 21 to 46 %). It is an assumption about this model, in
which the forward pass that gradient caching repeats is not counted."""
GPUS_PER_NODE = 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.plan", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, of_run=True)
    arguments.add_data(parser, default="the recipe's data.uri")
    parser.add_argument(
        "--gpus",
        metavar="N",
        type=arguments.positive,
        help="training workers, each with a GPU if scale.use_gpu (default: the maximum of scale.workers)",
    )
    parser.add_argument(
        "--gpus-per-node",
        metavar="N",
        type=arguments.positive,
        default=GPUS_PER_NODE,
        help="training workers of a machine, if there are so many (default: %(default)s)",
    )
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--measured", metavar="RUN_URI", help="folder of a run of the same model on the same device")
    speed.add_argument("--pairs-per-s", metavar="X", type=_above_0, help="pairs per second of one GPU")
    speed.add_argument(
        "--compare", metavar="RUN_URI", help="predict this finished run from its first steps, compare, and stop"
    )
    parser.add_argument(
        "--first-steps", metavar="N", type=arguments.positive, help="with --compare (default: a quarter)"
    )
    parser.add_argument(
        "--peak", metavar="GPU", default=PEAK, help="name of the GPU for speed by FLOPs (default: %(default)s)"
    )
    parser.add_argument(
        "--peak-share", metavar="S", type=arguments.share, default=PEAK_SHARE, help="share of it (default: %(default)s)"
    )
    parser.add_argument(
        "--prices", metavar="FILE.toml", help="price table (default: examples, mulan/planning/prices.toml)"
    )
    parser.add_argument("--json", metavar="FILE", help="also write all numbers to a file or URI")
    args = parser.parse_args()
    if args.compare is not None:
        compare(args)
        return
    if args.recipe is None:
        parser.error("the following arguments are required: --recipe")
    if not args.peak_share:
        parser.error("argument --peak-share: 0 is not above 0")
    plan(args)


def _above_0(text: str) -> float:
    value = float(text)  # argparse reports a ValueError
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def plan(args: argparse.Namespace) -> None:
    """Prints what a run will need."""
    recipe, prices, measured = _checked(args)
    if args.dry_run:
        print(recipe.to_toml(), end="")
        return
    reader = MicroBatchReader.from_recipe(recipe)
    # imports torch and the libraries of models
    from mulan.planning.needs import run_needs
    from mulan.planning.speed import SpeedSource
    from mulan.planning.table import needs_json, needs_table

    source = SpeedSource(args.pairs_per_s, measured, args.peak, args.peak_share)
    workers = recipe.scale.max_workers
    needs = run_needs(
        recipe,
        reader,
        source,
        prices,
        name=args.recipe,
        workers_per_node=min(workers, args.gpus_per_node),
    )
    CONSOLE.print(needs_table(needs))
    _write_json(args.json, needs_json(needs))


def _checked(args: argparse.Namespace) -> tuple[Recipe, Prices, MeasuredSteps | None]:
    """Returns the recipe with the number of workers, the prices and the measured steps; lists all faults of them."""
    errors = ErrorCollection()
    recipe = prices = measured = None
    with errors.collecting():
        prices = read_prices(args.prices)
    with errors.collecting():
        if args.gpus is not None:
            args.settings.append(f"scale.workers={args.gpus}")
        recipe = arguments.recipe_to_train(args)
        recipe = recipe.replace({"scale.workers": recipe.scale.max_workers})
    with errors.collecting():
        if args.measured is not None:
            run = _run_at("--measured", args.measured)
            measured = measured_steps(run)
            if recipe is not None:
                check_comparable(run.recipe(), recipe, run_uri=run.uri)
    errors.raise_any()
    assert recipe is not None and prices is not None
    return recipe, prices, measured


def compare(args: argparse.Namespace) -> None:
    """Predicts a finished run from its first steps, and prints the comparison with the rest."""
    run = _run_at("--compare", args.compare)
    recipe = arguments.recipe_of_run(args, run)
    recipe = recipe.replace({"data.uri": arguments.data_of(args, recipe)})
    reader = MicroBatchReader.from_recipe(recipe)
    run.check(recipe, reader.corpus.index_sha256)
    from mulan.planning.comparison import compare_run, comparison_table

    found = compare_run(run, recipe, reader, first_steps=args.first_steps)
    CONSOLE.print(comparison_table(found))
    _write_json(args.json, {"run": run.uri, "compared": [asdict(each) | {"ratio": each.ratio} for each in found]})


def _run_at(flag: str, uri: str) -> Run:
    """Returns the run in the folder that an argument names."""
    arguments.checked(flag, uri)
    storage_uri, _, name = filesystem.absolute(uri).rstrip("/").rpartition("/")
    return Run.at(storage_uri, name)


def _write_json(uri: str | None, values: dict[str, Any]) -> None:
    if uri is not None:
        content = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        filesystem.write_atomically(filesystem.absolute(uri), content.encode())


if __name__ == "__main__":
    arguments.end(main, repeated="plans again")
