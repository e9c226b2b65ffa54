"""Runs the long disturbed runs: `make chaos`. Prints the tables of the README's section on fault tolerance."""

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
    machine_taken_and_given_back,
    two_nodes,
    undisturbed,
)
from tests.chaos.strikes import Cost, planned_strikes
from tests.conftest import tone_recording

STRUCK = Size(steps=60, pairs_per_micro_batch=16, window_s=20)
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
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of victims and moments")
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
            undisturbed(nodes, corpus_uri, twin, STRUCK)
            run = Run(str(runs), "disturbed")
            strikes = planned_strikes(VICTIMS, steps=STRUCK.steps, seed=seed)
            print_costs(disturbed(nodes, corpus_uri, run, STRUCK, strikes, seed=seed))
            assert_nothing_lost(run, twin)
            print(f"{len(strikes)} strikes in {STRUCK.steps} steps: each loss and the last checkpoint ", end="")
            print("the same to the bit, each recording in its place\n", flush=True)
            grown = undisturbed(nodes, corpus_uri, Run(str(runs), "soak"), SOAK)
            print_growth(grown)
            elastic = Run(str(runs), "elastic")
            for what, seconds in machine_taken_and_given_back(nodes, corpus_uri, elastic, STRUCK):
                print(f"{seconds:6.0f} s  {what}", flush=True)
            assert_nothing_lost(elastic, twin)
            print("every loss and the last checkpoint the same to the bit, every recording in its place")
    return 0 if all(each.within for each in grown) else 1


def print_costs(costs: Iterable[Cost]) -> None:
    print("| struck | after step | seconds to the next step | noticed | joined | first step | steps again |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for cost in costs:
        victim = cost.strike.victim + (", writing a checkpoint" if cost.strike.during_checkpoint else "")
        parts = (cost.noticed_s, cost.joined_s, cost.first_step_s, cost.again_s)
        shown = " | ".join("" if part is None else f"{part:.0f}" for part in parts)
        print(f"| {victim} | {cost.at_step} | {cost.in_all_s:.0f} | {shown} |", flush=True)
    print()


def print_growth(grown: list[Growth]) -> None:
    print("| held | second quarter | last quarter | bound of growth |")
    print("|---|---|---|---|")
    for each in grown:
        print(f"| {each.held} | {each.before:.0f} | {each.after:.0f} | {each.bound:.0f} |", flush=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
