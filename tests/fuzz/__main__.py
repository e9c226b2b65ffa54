"""Runs the parsers of files of others on mutated inputs (``make fuzz``), and saves inputs that reveal a fault."""

import argparse
import faulthandler
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.attempts import Bounds, Finding, Tally, input_of
from tests.fuzz.targets import TARGETS
from tests.fuzz.workers import run

FINDINGS = Path("runs", "fuzz")
PROGRESS_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=50_000, help="number of inputs of each target (default: 50000)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="seed of the inputs (default: random)"
    )
    parser.add_argument("--target", action="append", choices=TARGETS, help="run only this target; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--repeat", type=Path, metavar="FILE", help="run only on this input of --target, in this process"
    )
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.repeat:
        return repeat(options.repeat, names[0])
    print(f"seed {options.seed}", flush=True)
    tallies = {name: fuzz(name, options.inputs, options.seed, options.jobs) for name in names}
    print_table(tallies)
    return 1 if any(tally.findings for tally in tallies.values()) else 0


def repeat(file: Path, name: str) -> int:
    """Reads one input; an undocumented error ends this process."""
    faulthandler.enable()
    target = TARGETS[name]()
    try:
        target.read(file.read_bytes())
        print("accepted")
    except target.refusals as error:
        print(f"refused: {error}")
    return 0


def fuzz(name: str, inputs: int, seed: int, jobs: int) -> Tally:
    """Runs a target on all inputs, and prints the progress and each new finding."""
    total, counts, printed_at = Tally(), Counter[tuple[str, str]](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        parts = run(TARGETS[name], inputs=inputs, seed=seed, jobs=jobs, bounds=Bounds(), folder=Path(folder))
        for part in parts:
            total.add(part)
            for finding in part.findings:
                counts[finding.kind, finding.what] += 1
                if counts[finding.kind, finding.what] == 1:
                    print_finding(finding, name, seed)
            if time.monotonic() - printed_at > PROGRESS_S:
                printed_at = time.monotonic()
                print(f"{name}: {total.inputs} of {inputs} inputs", flush=True)
    for (kind, what), count in counts.items():
        print(f"{name}: {count} times {kind}: {what}", flush=True)
    return total


def print_finding(finding: Finding, name: str, seed: int) -> None:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    file = FINDINGS / f"{name}-{finding.kind}-{seed}-{finding.number}"
    file.write_bytes(input_of(TARGETS[name](), seed=seed, number=finding.number))
    print(f"{name}: {finding.kind}: {finding.what}\n  python -m tests.fuzz --target {name} --repeat {file}", flush=True)


def print_table(tallies: dict[str, Tally]) -> None:
    print("\n| target | inputs | refused | accepted | seconds | slowest, s | peak, MiB | growth, MiB | findings |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, tally in tallies.items():
        counts = f"{tally.inputs} | {tally.refused} | {tally.accepted} | {tally.seconds:.0f} | {tally.slowest_s:.2f}"
        print(f"| {name} | {counts} | {tally.peak_mib:.0f} | {tally.grown_mib:.1f} | {len(tally.findings)} |")


if __name__ == "__main__":
    sys.exit(main())
