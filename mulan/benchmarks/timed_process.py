"""Processes whose output is read while they run, and which are ended after a time, with all that they have started."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mulan.benchmarks.measure import BenchmarkFailed

_ROOT = Path(__file__).parents[2]
_REASON_CHARACTERS = 300


def output_lines(command: Sequence[str], *, timeout_s: float) -> Iterator[str]:
    """Runs a command and yields the lines of its standard output as soon as they are written.

    Args:
        command: Program and arguments; it runs in the root of the project.
        timeout_s: Time after which the process is ended, together with the processes that it has started.

    Raises:
        BenchmarkFailed: The process failed, with the last line of its standard error, or has not ended in time. The
            lines that it wrote before have been yielded.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        # a session of its own, so that the whole group of processes can be ended
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=_ROOT, start_new_session=True
        ) as process,
    ):
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            _end_group(process)

        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            assert process.stdout is not None
            yield from process.stdout
            process.wait()
        finally:
            timer.cancel()
            _end_group(process)
        if timed_out.is_set():
            raise BenchmarkFailed(f"not finished in {timeout_s:.0f} s")
        if process.returncode:
            errors.seek(0)
            lines = [line.strip() for line in errors if line.strip()]
            reason = lines[-1] if lines else "no message"
            raise BenchmarkFailed(f"exit code {process.returncode}: {reason[:_REASON_CHARACTERS]}")


def _end_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
