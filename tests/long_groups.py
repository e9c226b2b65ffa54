"""Groups of long tests, and a command that prints which of them are due: ``python -m tests.long_groups``.

One group is due each hour by rotation, and one more if changes of the last hours may have broken it.
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
"""Git's object id of an empty tree, the state before the first commit."""


@dataclass(frozen=True)
class Group:
    """Long tests that are run together."""

    subject: str
    """The behaviour that the tests verify."""
    paths: tuple[str, ...]
    """Folders and files; a change to one of them may break this behaviour."""


GROUPS = {
    "learning": Group(
        "MuLaP and SemiSupCon learn from the demo's music",
        ("mulan/demo/", "mulan/evaluation/", "mulan/model/", "mulan/objectives/", "mulan/recipes/", "mulan/tasks/"),
    ),
    "chaos": Group(
        "runs with killed processes and changing nodes lose nothing",
        (
            "mulan/data/",
            "mulan/distributed/",
            "mulan/instrumentation/",
            "mulan/launch/",
            "mulan/private_ray/",
            "mulan/runs/",
            "mulan/storage/",
            "mulan/telemetry/",
            "mulan/training/",
            "tests/chaos/",
            "tests/nodes.py",
        ),
    ),
    "layouts": Group(
        "every recipe at every number of workers and ZeRO stage, compiled and full steps, and the benchmarks",
        (
            "mulan/benchmarks/",
            "mulan/config/",
            "mulan/distributed/",
            "mulan/model/",
            "mulan/objectives/",
            "mulan/recipes/",
            "mulan/tasks/",
            "mulan/training/",
            "mulan/vocabularies/",
            "pyproject.toml",
            "requirements.lock",
            "tests/conftest.py",
            "tests/processes.py",
        ),
    ),
    "jobs": Group(
        "whole jobs and sweeps, on a cluster and on S3",
        (
            "cluster/",
            "jobs/",
            "mulan/collection/",
            "mulan/debugging/",
            "mulan/launch/",
            "mulan/monitoring/",
            "mulan/pages/",
            "mulan/planning/",
            "mulan/preparation/",
            "mulan/runs/",
            "mulan/search/",
            "mulan/serving/",
            "mulan/storage/",
            "mulan/submission/",
            "mulan/tracking/",
            "pyproject.toml",
            "requirements.lock",
            "tests/conftest.py",
            "tune/",
        ),
    ),
}


def due(hour: int, changed: Iterable[str]) -> dict[str, str]:
    """Returns the groups that are due, at most two, each with the reason.

    Args:
        hour: Hours since a midnight. Each group has its turn at least every seven hours and, if the command is called
            at the same hour of every day, every four days.
        changed: Paths of files that were changed recently.
    """
    names, files = list(GROUPS), list(changed)
    first = (hour + hour // 24) % len(names)  # a day has a multiple of four hours
    turn, *others = names[first:] + names[:first]
    groups = {turn: "its turn"}
    for name in others:
        touched = next((file for file in files if _concerns(file, name)), None)
        if touched and len(groups) < MAX_DUE:
            groups[name] = f"recent changes of {touched}, and possibly others"
    return groups


def _concerns(file: str, name: str) -> bool:
    """Returns whether a file is in one of the paths of a group, or contains tests of the group."""
    if file.startswith(GROUPS[name].paths):
        return True
    path = ROOT / file
    return file.startswith("tests/") and path.is_file() and f'long(group="{name}")' in path.read_text(encoding="utf-8")


def recently_changed(folder: Path = ROOT) -> list[str]:
    """Returns the paths of files that differ from the branch some hours ago; merges count by their own time.

    If the history is shorter, these are all files. If there is no history, there are none, and a message is printed.
    """

    def git(*words: str) -> str:
        command = ["git", "-c", "core.quotePath=false", *words]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    try:
        base = git("rev-list", "-1", "--first-parent", f"--before={RECENT_HOURS} hours ago", "HEAD").strip()
        return git("diff", "--name-only", "--no-renames", "-z", base or EMPTY_TREE, "HEAD").split("\0")[:-1]
    except FileNotFoundError:
        reason = "there is no git"
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
    print(f"recent changes are not known: {reason}", file=sys.stderr)
    return []


def main() -> None:
    """Prints the due groups in one line, as for ``make test-long GROUP=``, and the reasons to standard error."""
    groups = due(int(time.time() // 3600), recently_changed())
    for name, reason in groups.items():
        print(f"{name}: {reason}; {GROUPS[name].subject}", file=sys.stderr)
    print(" ".join(groups))


if __name__ == "__main__":
    main()
