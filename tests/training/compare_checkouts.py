"""Compares the first steps of every small recipe bit for bit between two checkouts: `make compare`.

A change that must not affect training keeps all losses, gradient norms, validation scores and final weights,
moments and running statistics. Each checkout runs its own code in its own process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mulan.config.paths import absolute
from mulan.data.corpus.writing import write_corpus
from tests.conftest import tone_recording

Measured = dict[str, Any]
"""Result of a recipe: each series by its name, or ``error``."""

ALONE = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
"""Environment of a single training process."""

SERIES = ("loss", "grad_norm", "validation", "recordings", "state")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.training.compare_checkouts", description=__doc__.split("\n")[0])
    parser.add_argument("checkouts", nargs="+", help="OLD NEW: folders, or a JSON file that --save wrote")
    parser.add_argument("--data", help="URI of a corpus (default: tones with texts of every source)")
    parser.add_argument("--recipes", nargs="+", default=[], help="default: demo, and every miniature")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--save", type=Path, help="JSON file for what the last checkout comes to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compare") as folder:
        uri = absolute(given.data) if given.data else _write_tones(f"{folder}/tones")
        measured = [_load_or_run(Path(one), uri, given.steps, given.recipes, folder) for one in given.checkouts]
    if given.save:
        given.save.write_text(json.dumps(measured[-1]))
    old, new = measured[0], measured[-1]
    print(" | ".join(("| recipe", f"loss of step {given.steps}", *SERIES)), "|\n" + "|---" * (2 + len(SERIES)) + "|")
    equal = [_print_row(name, old.get(name, {}), new.get(name, {})) for name in given.recipes or sorted(old | new)]
    return 0 if all(equal) else 1


def _print_row(recipe: str, old: Measured, new: Measured) -> bool:
    """Returns True if both results have the same series with the same bits."""
    cells = [_difference(old.get(name), new.get(name)) for name in SERIES]
    errors = [one["error"] for one in (old, new) if "error" in one]
    loss = f"{float.fromhex(new['loss'][-1]):.6f}" if new.get("loss") else ""
    print(" | ".join((f"| {recipe}", errors[0] if errors else loss, *cells)), "|", flush=True)
    return all(cell == "equal" for cell in cells)


def _difference(old: Any, new: Any) -> str:
    if old is None or new is None:
        return "absent"
    if old == new:
        return "equal"
    if isinstance(old, dict):
        differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        return f"{len(differing)} of {len(old)} differ: {', '.join(differing[:3])}"
    if len(old) != len(new):
        return f"{len(old)} and {len(new)} entries"
    first = next(number for number, pair in enumerate(zip(old, new, strict=True), 1) if pair[0] != pair[1])
    return f"differs from entry {first} on"


def _write_tones(uri: str) -> str:
    splits = ["train"] * 32 + ["validation"] * 8 + ["test"] * 8
    write_corpus((tone_recording(i, split, unfiltered=True) for i, split in enumerate(splits)), uri)
    return uri


def _load_or_run(checkout: Path, uri: str, steps: int, recipes: list[str], folder: str) -> dict[str, Measured]:
    result = checkout
    if checkout.is_dir():
        result, runs = Path(folder, "result.json"), tempfile.mkdtemp(dir=folder)
        environment = {**os.environ, **ALONE, "PYTHONPATH": str(checkout.resolve())}
        settings = {"uri": uri, "steps": steps, "recipes": recipes, "folder": runs, "result": str(result)}
        # this checkout's script with the other one's modules; -P keeps the script's folder out of sys.path
        command = [sys.executable, "-P", str(Path(__file__).with_name("first_steps.py")), json.dumps(settings)]
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=sys.stderr)
    content: dict[str, Measured] = json.loads(result.read_text())
    return content


if __name__ == "__main__":
    sys.exit(main())
