"""Make ``.venv`` from ``requirements.lock``; run by ``make``, with the Python that the environment is to have.

An environment belongs to one lock and one Python. ``.venv/installed``, written last, holds both; an environment without
it, or of another lock or Python, is made anew.
"""

from __future__ import annotations  # a Python that is too old comes as far as being told so

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
"""Locked by whoever makes the environment; a file of its own, which git does not replace."""
DOWNLOADS = VENV / "downloads"
"""Not /tmp: it may be small, or in memory."""

PIP = "pip==26.3"
"""The one that comes with Python 3.11 needs half as much time again."""

NEEDED = 9.3e9
ROOM = ".venv takes 9.3 GB while it is made and 6.5 GB afterwards; pip keeps 3 GB of downloads in its cache."

SECONDS_BETWEEN_LINES = 30
"""Where the output is no terminal."""

REMEDIES = {
    r"No space left on device|Disk quota exceeded": f"The disk is full. {ROOM}",
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|connection broken"
    r"|[Tt]imed out|HTTP error|incomplete-download|from versions: none": (
        "The package index could not be reached, or lacks this package. See to the network and to pip's settings: "
        "pip config list"
    ),
    r"No matching distribution": (
        "The package index lacks this version for this Python and machine; on Linux with x86-64 it should have it."
    ),
}
"""What to do about what pip says; the first that fits."""


class Failure(Exception):
    """Its text is what the user reads."""


class Progress:
    """One line that changes; where the output is no terminal, a few lines."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._printed, self._step = 0.0, ""

    def show(self, step: str, count: str = "") -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        line = f"installing into .venv  {step} {count}  {minutes}:{seconds:02}"
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif step != self._step or time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
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


def what_is_installed() -> str:
    return f"# Python {sys.version_info[0]}.{sys.version_info[1]}\n{LOCK.read_text()}"


def is_whole() -> bool:
    return INSTALLED.exists() and PYTHON.exists() and INSTALLED.read_text() == what_is_installed()


def is_newest() -> bool:
    return is_whole() and INSTALLED.stat().st_mtime >= max(file.stat().st_mtime for file in (LOCK, PROJECT))


@contextmanager
def alone() -> Iterator[int]:
    """Two at once would delete each other's work. Children hold on to it too, should this process be killed."""
    with IN_USE.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: .venv is being made by another process", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def explained(said: str) -> str:
    """The errors among what was said, and a remedy."""
    errors = [line for line in said.splitlines() if "error" in line.lower() and "Retrying" not in line]
    remedies = [remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, said)]
    return "\n".join([*errors[-5:], *remedies[:1], f"The whole output is in {LOG}; the next call starts anew."])


def run(*command: str | Path, held: int, each: Callable[[str], None], may_fail: bool = False) -> None:
    """Call ``each`` twice a second, with all that the command has said."""
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(DOWNLOADS), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            pass_fds=[held],
        )
    try:
        while process.poll() is None:
            each(LOG.read_text(errors="replace"))
            time.sleep(0.5)
    finally:
        process.kill()
    if process.returncode < 0:
        raise Failure(f"{command[2]} was ended by signal {-process.returncode}; was there too little memory?")
    if process.returncode and not may_fail:
        raise Failure(explained(LOG.read_text(errors="replace")))


def check_room() -> None:
    free = shutil.disk_usage(VENV).free
    if free < NEEDED:
        raise Failure(f"Too little room: {free / 1e9:.1f} GB are free at {VENV}. {ROOM}")


def make_anew(progress: Progress, held: int) -> None:
    if VENV.is_symlink():
        raise Failure(f"{VENV} is a link to {VENV.resolve()}, which is not to be made anew from here; remove the link.")
    progress.show("making the environment")
    INSTALLED.unlink(missing_ok=True)  # before anything else of it is gone
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=[held])
    if made.returncode:
        check_room()
        raise Failure(f"{sys.executable} -m venv failed:\n{made.stdout}{made.stderr}".rstrip())
    DOWNLOADS.mkdir()
    pip = (PYTHON, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--no-deps", "--no-compile")
    run(*pip, PIP, held=held, each=lambda said: progress.show("fetching pip"))

    check_room()
    pins = len(LOCK.read_text().splitlines())
    (packages,) = VENV.glob("lib/python*/site-packages")

    def count(said: str) -> None:
        total = pins - len(re.findall(r"^Ignoring ", said, re.MULTILINE))
        if "Installing collected packages" in said:
            progress.show("unpacking", f"{min(len(list(packages.glob('*.dist-info'))), total)}/{total}")
        else:
            names = re.findall(r"^(?:Collecting ([^=\s]+)|Processing (?:\S*/)?([^-\s]+))", said, re.MULTILINE)
            progress.show("downloading", f"{min(len(names), total)}/{total} {''.join(names[-1]) if names else ''}")

    run(*pip, "--requirement", LOCK, held=held, each=count)
    shutil.rmtree(DOWNLOADS)
    compile_all(packages, progress, held)


def compile_all(packages: Path, progress: Progress, held: int) -> None:
    """On all cores, which pip does not; else every process would compile for seconds what it imports."""
    command = (PYTHON, "-m", "compileall", "-qq", "-j", "0", "-x", r"site-packages/.*/tests?/", packages)
    run(*command, held=held, each=lambda said: progress.show("compiling"), may_fail=True)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        check_python()
        with alone() as held:
            if is_newest() or (VENV.is_symlink() and is_whole()):  # another folder's has that folder's mulan
                return
            if not is_whole():
                make_anew(progress, held)
            progress.show("mulan itself")
            own = ("--no-deps", "--no-build-isolation", "--editable", ROOT)
            DOWNLOADS.mkdir(exist_ok=True)
            run(PYTHON, "-m", "pip", "install", *own, held=held, each=lambda said: None)
            shutil.rmtree(DOWNLOADS)
            INSTALLED.write_text(what_is_installed())
            progress.show("done")
    except (Failure, OSError) as failure:
        progress.end()
        sys.exit(f"{failure}")
    except KeyboardInterrupt:
        progress.end()
        sys.exit("interrupted; the next call starts anew")
    progress.end()


if __name__ == "__main__":
    main()
