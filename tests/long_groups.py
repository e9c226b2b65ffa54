"""Groups of long tests: what each proves, which folders it stands for, and which are due: python -m tests.long_groups

One group is due each hour, in turn, and one more whose folders have commits of the last hours.
"""

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECENT_HOURS = 4
MOST_DUE = 2


@dataclass(frozen=True)
class Group:
    """Long tests that are run together."""

    proves: str
    folders: tuple[str, ...]
    """A commit to one of these may break what the group proves."""


GROUPS = {
    "learning": Group(
        "MuLaP and SemiSupCon learn from the demo's music",
        ("mulan/demo/", "mulan/evaluation/", "mulan/model/", "mulan/objectives/"),
    ),
    "chaos": Group(
        "runs whose processes are killed, and whose machines come and go, lose nothing",
        ("mulan/data/", "mulan/training/", "tests/chaos/", "tests/nodes.py"),
    ),
    "whole": Group(
        "whole jobs, every recipe at every layout of workers and ZeRO stages, and the benchmarks' readings",
        ("cluster/", "jobs/", "mulan/benchmarks/", "mulan/config/", "requirements.lock", "tests/processes.py", "tune/"),
    ),
}


def due(hour: int, changed: Iterable[str]) -> dict[str, str]:
    """The groups to be run, at most two, each with the reason.

    Args:
        hour: counted from a midnight. Each group has its turn in every five hours, and, asked for at the same hour of
            every day, in every three days.
        changed: paths of files with recent commits.
    """
    names, files = list(GROUPS), list(changed)
    first = (hour + hour // 24) % len(names)  # a day has a multiple of three hours
    turn, *others = names[first:] + names[:first]
    found = {turn: "its turn"}
    for name in others:
        touched = next(
            (folder for folder in GROUPS[name].folders if any(file.startswith(folder) for file in files)), ""
        )
        if touched and len(found) < MOST_DUE:
            found[name] = f"recent commits to {touched}"
    return found


def recently_changed() -> list[str]:
    """Paths of the files that commits of the last hours changed."""
    command = ["git", "log", f"--since={RECENT_HOURS} hours ago", "--format=", "--name-only", "HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")


def main() -> None:
    """Prints the groups that are due on one line, as `make test-long GROUP=` takes them, and why to standard error."""
    found = due(int(time.time() // 3600), recently_changed())
    for name, reason in found.items():
        print(f"{name}: {reason}; {GROUPS[name].proves}", file=sys.stderr)
    print(" ".join(found))


if __name__ == "__main__":
    main()
