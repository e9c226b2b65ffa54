"""Runs the long disturbed runs (``make chaos``), and prints the table of the README's section on fault tolerance."""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mulan.data.corpus.writing import write_corpus
from mulan.runs.run import Run
from tests.chaos.growth import Growth
from tests.chaos.scenarios import (
    Size,
    assert_nothing_lost,
    disturbed,
    node_preempted_and_added,
    two_nodes,
    undisturbed,
)
from tests.chaos.strikes import Cost, planned_strikes
from tests.conftest import tone_recording

DISTURBED = Size(steps=60, pairs_per_micro_batch=16, window_s=20)
SOAK = Size(steps=1000, pairs_per_micro_batch=16, window_s=5)
VICTIMS = [
    "training worker",
    "training worker",
    "data worker",
    "data worker",
    "batch server",
    "controller",
    "driver",
    "node",
    "stopped worker",
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="seed of the order and the times of the strikes (default: random)",
    )
    seed = parser.parse_args().seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos") as name:
        folder = Path(name)
        corpus_uri = str(folder / "corpus")
        write_corpus((tone_recording(number, "train") for number in range(32)), corpus_uri)
        runs = folder / "runs"
        runs.mkdir()
        with two_nodes() as nodes:
            twin = Run(str(runs), "undisturbed")
            undisturbed(nodes, corpus_uri, twin, DISTURBED)
            run = Run(str(runs), "disturbed")
            strikes = planned_strikes(VICTIMS, steps=DISTURBED.steps, seed=seed)
            print_costs(disturbed(nodes, corpus_uri, run, DISTURBED, strikes, seed=seed))
            assert_nothing_lost(run, twin)
            equal = "losses, recordings and the last checkpoint equal those of the undisturbed run bit for bit"
            print(f"{len(strikes)} strikes in {DISTURBED.steps} steps: {equal}\n", flush=True)
            growth = undisturbed(nodes, corpus_uri, Run(str(runs), "soak"), SOAK)
            print_growth(growth)
            elastic = Run(str(runs), "elastic")
            for what, seconds in node_preempted_and_added(nodes, corpus_uri, elastic, DISTURBED):
                print(f"{seconds:6.0f} s  {what}", flush=True)
            assert_nothing_lost(elastic, twin)
            print(equal)
    return 0 if all(each.within for each in growth) else 1


def print_costs(costs: Iterable[Cost]) -> None:
    print("| killed | after step | seconds to the next step | detected | joined | first step | repeated steps |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for cost in costs:
        victim = cost.strike.victim + (", writing a checkpoint" if cost.strike.during_checkpoint else "")
        parts = (cost.detected_s, cost.joined_s, cost.first_step_s, cost.repeated_s)
        shown = " | ".join("" if part is None else f"{part:.0f}" for part in parts)
        print(f"| {victim} | {cost.at_step} | {cost.total_s:.0f} | {shown} |", flush=True)
    print()


def print_growth(growth: list[Growth]) -> None:
    print("| resource | second quarter | last quarter | maximum growth |")
    print("|---|---|---|---|")
    for each in growth:
        print(f"| {each.held} | {each.before:.0f} | {each.after:.0f} | {each.bound:.0f} |", flush=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
