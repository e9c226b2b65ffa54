"""Groups of long tests: what each proves, which folders it stands for, and which are due: python -m tests.long_groups

One group is due each hour, in turn, and one more that the changes of the last hours may have broken.
"""

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECENT_HOURS = 4
MAX_DUE = 2
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""To git, what a repository holds before its first commit."""


@dataclass(frozen=True)
class Group:
    """Long tests that are run together."""

    proves: str
    places: tuple[str, ...]
    """Folders and files. A change to one of these may break what the group proves."""


GROUPS = {
    "learning": Group(
        "MuLaP and SemiSupCon learn from the demo's music",
        ("mulan/demo/", "mulan/evaluation/", "mulan/model/", "mulan/objectives/", "mulan/recipes/", "mulan/tasks/"),
    ),
    "chaos": Group(
        "runs whose processes are killed, and whose machines come and go, lose nothing",
        (
            "mulan/data/",
            "mulan/distributed/",
            "mulan/launch/",
            "mulan/private_ray/",
            "mulan/runs/",
            "mulan/storage/",
            "mulan/training/",
            "tests/chaos/",
            "tests/nodes.py",
        ),
    ),
    "whole": Group(
        "whole jobs, every recipe at every layout of workers and ZeRO stages, and the benchmarks' readings",
        (
            "cluster/",
            "jobs/",
            "mulan/benchmarks/",
            "mulan/config/",
            "mulan/debugging/",
            "mulan/distributed/",
            "mulan/launch/",
            "mulan/model/",
            "mulan/objectives/",
            "mulan/recipes/",
            "mulan/runs/",
            "mulan/storage/",
            "mulan/tasks/",
            "mulan/training/",
            "pyproject.toml",
            "requirements.lock",
            "tests/conftest.py",
            "tests/processes.py",
            "tune/",
        ),
    ),
}


def due(hour: int, changed: Iterable[str]) -> dict[str, str]:
    """The groups to be run, at most two, each with the reason.

    Args:
        hour: counted from a midnight. Each group has its turn in every five hours, and, asked for at the same hour of
            every day, in every three days.
        changed: paths of files that were changed of late.
    """
    names, files = list(GROUPS), list(changed)
    first = (hour + hour // 24) % len(names)  # a day has a multiple of three hours
    turn, *others = names[first:] + names[:first]
    found = {turn: "its turn"}
    for name in others:
        touched = next((file for file in files if _concerns(file, name)), None)
        if touched and len(found) < MAX_DUE:
            found[name] = f"recent changes, of {touched} and perhaps others"
    return found


def _concerns(file: str, name: str) -> bool:
    """Whether a file is one of a group's places, or holds tests of the group."""
    if file.startswith(GROUPS[name].places):
        return True
    path = ROOT / file
    return file.startswith("tests/") and path.is_file() and f'long(group="{name}")' in path.read_text(encoding="utf-8")


def recently_changed(folder: Path = ROOT) -> list[str]:
    """Paths of the files that differ from what the branch held some hours ago; merges count when they are made.

    Where the history does not reach back so far, all files do. Where there is none, none do, and that is told.
    """

    def git(*words: str) -> str:
        command = ["git", "-c", "core.quotePath=false", *words]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    try:
        then = git("rev-list", "-1", "--first-parent", f"--before={RECENT_HOURS} hours ago", "HEAD").strip()
        return git("diff", "--name-only", "--no-renames", "-z", then or EMPTY_TREE, "HEAD").split("\0")[:-1]
    except FileNotFoundError:
        reason = "there is no git"
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
    print(f"what was changed of late is not known: {reason}", file=sys.stderr)
    return []


def main() -> None:
    """Prints the groups that are due on one line, as `make test-long GROUP=` takes them, and why to standard error."""
    found = due(int(time.time() // 3600), recently_changed())
    for name, reason in found.items():
        print(f"{name}: {reason}; {GROUPS[name].proves}", file=sys.stderr)
    print(" ".join(found))


if __name__ == "__main__":
    main()
