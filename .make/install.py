"""Creates ``.venv`` from ``requirements.lock``; run by ``make``, with the Python of the environment.

An environment belongs to one lock file and one Python version. ``.venv/installed``, written last, contains both; an
environment without it, or of another lock file or Python version, is created again.
"""

from __future__ import annotations  # a Python that is too old gets as far as the check of its version

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
VENV = ROOT / ".venv"
INSTALLED = VENV / "installed"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"
IN_USE = ROOT / ".make" / "in_use"
"""File that is locked while the environment is created; a separate one, since git replaces the files that it tracks."""
DOWNLOADS = VENV / "downloads"
"""Folder for temporary files. /tmp may be small or in memory."""

PIP = "pip==26.3"
"""Version of pip. The one bundled with Python 3.11 takes 1.5 times as long."""

REQUIRED_BYTES = 9.3e9
SPACE_HINT = ".venv takes 9.3 GB during installation and 6.5 GB afterwards; pip keeps 3 GB of downloads in its cache."

PLAIN_PERIOD_S = 30
"""Time between two lines if the output is not a terminal."""

REMEDIES = {
    r"No space left on device|Disk quota exceeded": f"The disk is full. {SPACE_HINT}",
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|connection broken"
    r"|[Tt]imed out|HTTP error|incomplete-download|from versions: none": (
        "The package index could not be reached, or lacks this package. Check the network and pip's settings: "
        "pip config list"
    ),
    r"No matching distribution": (
        "The package index lacks this version for this Python and machine; for Linux on x86-64 it should have it."
    ),
}
"""Remedies by a pattern in the output of pip; the first match is shown."""


class Failure(Exception):
    """The installation failed; the message is shown to the user."""


class Progress:
    """Shows progress in one line that is updated; in a few lines if the output is not a terminal."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._printed, self._step = 0.0, ""

    def show(self, step: str, count: str = "") -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        line = f"installing into .venv  {step} {count}  {minutes}:{seconds:02}"
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif step != self._step or time.monotonic() - self._printed > PLAIN_PERIOD_S:
            self._printed = time.monotonic()
            print(line, flush=True)
        self._step = step

    def end(self) -> None:
        if sys.stdout.isatty() and self._step:
            print(flush=True)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    supported = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', PROJECT.read_text(), re.MULTILINE)
    assert supported
    minors = range(int(supported[1]), int(supported[2]))
    if version not in [(3, minor) for minor in minors]:
        raise Failure(
            f"{sys.executable} is Python {version[0]}.{version[1]}; mulan needs "
            f"{', '.join(f'3.{minor}' for minor in minors)}. Name one of them: make PYTHON=python3.{minors[-1]} ..."
        )


def expected_state() -> str:
    """Returns the content of ``.venv/installed`` for this Python version and the lock file."""
    return f"# Python {sys.version_info[0]}.{sys.version_info[1]}\n{LOCK.read_text()}"


def is_complete() -> bool:
    """Returns whether ``.venv`` has been installed completely from the lock file, with this Python version."""
    return INSTALLED.exists() and PYTHON.exists() and INSTALLED.read_text() == expected_state()


def is_up_to_date() -> bool:
    """Returns whether ``.venv`` is complete and newer than the lock file and ``pyproject.toml``."""
    return is_complete() and INSTALLED.stat().st_mtime >= max(file.stat().st_mtime for file in (LOCK, PROJECT))


@contextmanager
def exclusive() -> Iterator[int]:
    """Holds the lock during the block, and yields its file descriptor, which children inherit in case this process is
    killed: two installations at once would delete each other's files."""
    with IN_USE.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another process is creating .venv", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def explained(output: str) -> str:
    """Returns the errors in the output of pip, with a remedy."""
    errors = [line for line in output.splitlines() if "error" in line.lower() and "Retrying" not in line]
    remedies = [remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, output)]
    return "\n".join([*errors[-5:], *remedies[:1], f"The whole output is in {LOG}; the next call starts again."])


def run(*command: str | Path, lock_fd: int, on_output: Callable[[str], None], may_fail: bool = False) -> None:
    """Runs a command, and calls ``on_output`` twice a second with its whole output so far.

    Args:
        lock_fd: File descriptor of the lock, which the command inherits.
        may_fail: True to ignore the exit code.

    Raises:
        Failure: The command failed or was killed.
    """
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(DOWNLOADS), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            pass_fds=[lock_fd],
        )
    try:
        while process.poll() is None:
            on_output(LOG.read_text(errors="replace"))
            time.sleep(0.5)
    finally:
        process.kill()
    if process.returncode < 0:
        raise Failure(f"{command[2]} was killed by signal {-process.returncode}, possibly for lack of memory")
    if process.returncode and not may_fail:
        raise Failure(explained(LOG.read_text(errors="replace")))


def check_disk_space() -> None:
    free = shutil.disk_usage(VENV).free
    if free < REQUIRED_BYTES:
        raise Failure(f"Too little disk space: {free / 1e9:.1f} GB are free at {VENV}. {SPACE_HINT}")


def create(progress: Progress, lock_fd: int) -> None:
    """Creates the environment from the lock file.

    Raises:
        Failure: A command failed, the disk is full, or ``.venv`` is a link.
    """
    if VENV.is_symlink():
        raise Failure(f"{VENV} is a link to {VENV.resolve()}, which this command does not replace; remove the link.")
    progress.show("creating the environment")
    INSTALLED.unlink(missing_ok=True)  # first, so that a partial environment is never taken as complete
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    created = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=[lock_fd])
    if created.returncode:
        check_disk_space()
        raise Failure(f"{sys.executable} -m venv failed:\n{created.stdout}{created.stderr}".rstrip())
    DOWNLOADS.mkdir()
    pip = (PYTHON, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--no-deps", "--no-compile")
    run(*pip, PIP, lock_fd=lock_fd, on_output=lambda _: progress.show("fetching pip"))

    check_disk_space()
    pins = len(LOCK.read_text().splitlines())
    (packages,) = VENV.glob("lib/python*/site-packages")

    def show_count(output: str) -> None:
        total = pins - len(re.findall(r"^Ignoring ", output, re.MULTILINE))
        if "Installing collected packages" in output:
            progress.show("unpacking", f"{min(len(list(packages.glob('*.dist-info'))), total)}/{total}")
        else:
            names = re.findall(r"^(?:Collecting ([^=\s]+)|Processing (?:\S*/)?([^-\s]+))", output, re.MULTILINE)
            progress.show("downloading", f"{min(len(names), total)}/{total} {''.join(names[-1]) if names else ''}")

    run(*pip, "--requirement", LOCK, lock_fd=lock_fd, on_output=show_count)
    shutil.rmtree(DOWNLOADS)
    compile_all(packages, progress, lock_fd)


def compile_all(packages: Path, progress: Progress, lock_fd: int) -> None:
    """Compiles the packages on all cores, unlike pip; otherwise every process would compile its imports for seconds."""
    command = (PYTHON, "-m", "compileall", "-qq", "-j", "0", "-x", r"site-packages/.*/tests?/", packages)
    run(*command, lock_fd=lock_fd, on_output=lambda _: progress.show("compiling"), may_fail=True)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        check_python()
        with exclusive() as lock_fd:
            # a linked environment contains the mulan of its own folder
            if is_up_to_date() or (VENV.is_symlink() and is_complete()):
                return
            if not is_complete():
                create(progress, lock_fd)
            progress.show("installing mulan")
            own = ("--no-deps", "--no-build-isolation", "--editable", ROOT)
            DOWNLOADS.mkdir(exist_ok=True)
            run(PYTHON, "-m", "pip", "install", *own, lock_fd=lock_fd, on_output=lambda _: None)
            shutil.rmtree(DOWNLOADS)
            INSTALLED.write_text(expected_state())
            progress.show("done")
    except (Failure, OSError) as failure:
        progress.end()
        sys.exit(f"{failure}")
    except KeyboardInterrupt:
        progress.end()
        sys.exit("interrupted; the next call starts again")
    progress.end()


if __name__ == "__main__":
    main()
