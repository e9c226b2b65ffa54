"""Benchmark of decoding a window: the cost of verifying a recording's length, against a decoder that trusts headers."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from mulan.benchmarks import decode_process
from mulan.benchmarks.decode_process import FORMATS, SECONDS, WINDOW_S, WINDOWS_A_READING
from mulan.benchmarks.measure import BenchmarkFailed, Figure, interleaved, ratios
from mulan.benchmarks.results import Goal, Report, Row

OURS, PLAIN, OTHER = "decode_window", "soundfile alone", "the other version"
GOAL = 1.03
"""Maximum time of a window relative to another version, for the formats of a corpus."""
GOAL_FORMATS = ("FLAC, 16 kHz", "MP3, 44.1 kHz")


def bench_decode(*, rounds: int, against: Path | None, progress: Callable[[str], None]) -> Report:
    """Times windows of each format in turn, each candidate in a separate process.

    Args:
        rounds: Number of measurements of each candidate and format, after one for warm-up.
        against: Folder with another version of mulan, whose ``decode_window`` is timed as well.
        progress: Called with a line of text after each format.
    """
    here = Path(__file__).parents[2]
    candidates = {OURS: ("decode_window", here), PLAIN: ("soundfile", here)}
    if against is not None:
        candidates[OTHER] = ("decode_window", against)
    rows, goals = [], []
    with ExitStack() as stack:
        timers = {name: stack.enter_context(_timing_process(*how)) for name, how in candidates.items()}
        for form in FORMATS:
            figures = _readings({name: partial(time_windows, form) for name, time_windows in timers.items()}, rounds)
            text = ", ".join(f"{name} {figure.median:.2f} ms" for name, figure in figures.items())
            progress(f"{form}: {text}")
            columns = {**figures, "/ soundfile": ratios(figures[OURS], figures[PLAIN])}
            if against is not None:
                columns["/ the other"] = ratios(figures[OURS], figures[OTHER])
                if form in GOAL_FORMATS:
                    goals.append(Goal(f"{form}, / the other", columns["/ the other"].median, GOAL, at_most=True))
            rows.append(Row(form, columns))
    return Report(
        "Decode",
        {"rounds": rounds, "recordings, s": SECONDS, "window, s": WINDOW_S, "windows timed": WINDOWS_A_READING},
        rows,
        goals,
        ["CPU milliseconds per window, decoded from memory to 16 kHz mono."],
    )


def _readings(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    figures = interleaved(candidates, rounds=rounds + 1, unit="ms", on_reading=lambda *_: None)
    return {name: Figure(figure.values[1:], figure.unit) for name, figure in figures.items()}


@contextmanager
def _timing_process(kind: str, folder: Path) -> Iterator[Callable[[str], float]]:
    """Starts a process, and returns a function that makes it time windows of a format."""
    script = str(Path(decode_process.__file__))
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    # without -P the script's own folder would precede the other version's on the path
    with subprocess.Popen(
        [sys.executable, "-P", script, kind],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        requests, results = process.stdin, process.stdout

        def time_windows(form: str) -> float:
            try:
                print(form, file=requests, flush=True)
                return float(results.readline())
            except (BrokenPipeError, ValueError) as error:
                raise BenchmarkFailed(f"{folder}: the process that decodes with {kind} ended") from error

        try:
            yield time_windows
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                requests.close()
