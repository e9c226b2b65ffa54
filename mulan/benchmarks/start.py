"""Benchmark of starts: help, a refused request, and two steps of Ray Train with two workers."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from mulan.benchmarks.chords import write_chords
from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.process_tree import PERIOD_S, ProcessReading
from mulan.benchmarks.results import Goal, Report, Row

GOAL_HELP_S = 2.0
"""Maximum seconds until a command has shown its help or refused a request."""
GOAL_TRAIN_CPU_S = 40.0
"""Maximum CPU seconds of a training run of two steps."""

RECORDINGS = 24
"""Number of recordings of the generated corpus: three micro-batches of the recipe."""

HELP, REFUSED, TRAIN = "help", "refused", "Ray Train, two workers, two steps"

_TRAIN = ["--recipe", "demo_miniature", "--set", "train.steps=2", "--set", "train.validation_micro_batches=0"]
_TIMEOUT_S = 600.0


def bench_start(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Calls ``jobs.train`` for each candidate in turn, and measures the time of all processes that it starts."""
    readings: dict[str, list[ProcessReading]] = {name: [] for name in (HELP, REFUSED, TRAIN)}
    with tempfile.TemporaryDirectory() as folder:
        corpus = os.path.join(folder, "corpus")
        write_chords(corpus, recordings=RECORDINGS)
        for number in range(rounds):
            for name, (arguments, exit_code) in _commands(folder, corpus, f"run{number}").items():
                reading = read([sys.executable, "-m", "jobs.train", *arguments], exit_code=exit_code)
                readings[name].append(reading)
                progress(f"round {number + 1}/{rounds}  {name}: {reading.wall_s:.2f} s, {reading.cpu_s:.2f} CPU-s")
    rows = [_row(name, taken) for name, taken in readings.items()]
    return Report(
        "Start",
        {"rounds": rounds, "recipe": "demo_miniature"},
        rows,
        [
            Goal("help, wall seconds", rows[0].figures[_WALL].median, GOAL_HELP_S, at_most=True),
            Goal("refused, wall seconds", rows[1].figures[_WALL].median, GOAL_HELP_S, at_most=True),
            Goal("Ray Train, CPU seconds", rows[2].figures[_CPU].median, GOAL_TRAIN_CPU_S, at_most=True),
        ],
        [
            "CPU time is that of all processes, including Ray's and short-lived ones. The last "
            f"{PERIOD_S:g} s of a process may be missing.",
        ],
    )


def read(command: Sequence[str], *, exit_code: int, timeout_s: float = _TIMEOUT_S) -> ProcessReading:
    """Measures a command and all of its descendants.

    Args:
        command: Command and arguments.
        exit_code: Exit code with which the command must end.
        timeout_s: Time in seconds within which it must end.

    Raises:
        BenchmarkFailed: The command ended with another exit code, or did not end.
    """
    arguments = [str(timeout_s), str(exit_code), *command]
    output = in_fresh_process("mulan.benchmarks.process_tree", arguments, timeout_s=timeout_s + 60)
    return ProcessReading(**json.loads(output.splitlines()[-1]))


_WALL, _CPU = "wall", "CPU, all processes"


def _commands(folder: str, corpus: str, run: str) -> dict[str, tuple[list[str], int]]:
    """Returns arguments of ``jobs.train`` and the expected exit code of each candidate."""
    place = ["--storage", folder, "--name", run]
    return {
        HELP: (["--help"], 0),
        REFUSED: ([*_TRAIN, *place, "--data", os.path.join(folder, "nowhere")], 2),
        TRAIN: ([*_TRAIN, *place, "--data", corpus], 0),
    }


def _row(name: str, taken: Sequence[ProcessReading]) -> Row:
    return Row(
        name,
        {
            _WALL: Figure(tuple(reading.wall_s for reading in taken), "s"),
            _CPU: Figure(tuple(reading.cpu_s for reading in taken), "s"),
            "processes": Figure(tuple(float(reading.processes) for reading in taken), ""),
        },
    )
