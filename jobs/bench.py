"""Benchmark mulan: python -m jobs.bench KIND

Kinds: loss, step, sums, metrics, checkpoint, start, variants, data, decode, index, adoption, preparation, retrieval,
embedding, search, gpu.
Prints progress and a table, and writes the report as JSON with --json FILE. Candidates take turns; figures are medians
with their ranges.
"""

import argparse
import shlex
import sys
from pathlib import Path

from jobs import arguments, bench_data, bench_gpu, bench_search, bench_training
from jobs.arguments import CONSOLE
from jobs.bench_kind import Kind
from mulan.benchmarks.measure import BenchmarkRefused
from mulan.storage import filesystem


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.bench", description=__doc__.split("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, one in KINDS.items():
        kind = kinds.add_parser(name)
        kind.add_argument("--rounds", type=int, default=7, help="measurements of each candidate (default: %(default)s)")
        kind.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
        one.add_arguments(kind)
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
    kind_of_benchmark = KINDS[args.kind]
    if kind_of_benchmark.recipe is not None and args.dry_run:
        print(kind_of_benchmark.recipe(args).to_toml(), end="")
        return
    report = kind_of_benchmark.measure(args, lambda text: CONSOLE.print(text, style="dim"))
    report.print(CONSOLE)
    if args.json:
        report.write(args.json, command=shlex.join(["python", "-m", "jobs.bench", *sys.argv[1:]]))


KINDS: dict[str, Kind] = {
    **bench_training.KINDS,
    **bench_data.KINDS,
    **bench_search.KINDS,
    "gpu": Kind(bench_gpu.add_arguments, bench_gpu.measure),
}
"""All kinds of benchmarks by name."""


if __name__ == "__main__":
    arguments.end(main)
