"""A pytest plugin that selects, orders and distributes the tests.

Of two test processes, one runs all tests that need Ray, so that they share one cluster, and the other starts with the
files that take longest.
"""

import functools
import os
import resource
from pathlib import Path

import psutil
import pytest
from xdist.scheduler import LoadFileScheduling

from tests.long_groups import GROUPS

IN_PROCESS, LONG, GPU = "--in-process", "--long", "--gpu"
CLUSTER = "ray_cluster"
"""The fixture of tests that need Ray."""

LONGEST_FIRST = (
    "tests/training/test_further_objectives_learn.py",
    "tests/chaos/test_chaos.py",
    "tests/training/test_recipes_at_all_layouts.py",
    "tests/training/test_recipes_on_workers.py",
    "tests/training/test_invariance.py",
    "tests/training/engines/test_deepspeed.py",
    "tests/debugging/test_replay.py",
    "tests/benchmarks/test_step_process.py",
    "tests/benchmarks/test_steps.py",
    "tests/jobs/test_s3.py",
    "tests/jobs/test_demo.py",
    "tests/tune/test_sweep.py",
    "tests/cluster/test_autoscaling.py",
)
"""Files that are started first, so that both processes end at about the same time. The others follow in their order."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        IN_PROCESS,
        action="store_true",
        help="leave out tests that start Ray or a process, and fail tests that start one without the mark",
    )
    parser.addoption(GPU, action="store_true", help="run only tests that need a GPU; all others are run without one")
    parser.addoption(LONG, metavar="GROUPS", help=f"run only these groups of long tests, of {' '.join(GROUPS)}")


def pytest_configure(config: pytest.Config) -> None:
    names = config.getoption(LONG)
    if names is not None and not set() < set(names.split()) <= set(GROUPS):
        raise pytest.UsageError(f"{LONG} {names!r}: name one or several of {' '.join(GROUPS)}")
    if config.getoption(GPU):
        os.environ.pop("DS_ACCELERATOR", None)
    else:  # before CUDA is initialised: many functions choose a GPU if there is one, and the results would be others
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    groups = {item: group_of(item) for item in items}
    names = config.getoption(LONG)

    def runs(item: pytest.Item) -> bool:
        chosen = names is None or groups[item] in names.split()
        chosen &= item.get_closest_marker("gpu") is not None or not config.getoption(GPU)
        return chosen and not (config.getoption(IN_PROCESS) and _starts_processes(item))

    config.hook.pytest_deselected(items=[item for item in items if not runs(item)])
    items[:] = sorted(filter(runs, items), key=_turn)


def group_of(item: pytest.Item) -> str | None:
    """Returns the group of a long test; None for all others.

    Raises:
        pytest.UsageError: The test is marked as long without an existing group.
    """
    mark = item.get_closest_marker("long")
    if mark is None:
        return None
    group = mark.kwargs.get("group")
    if mark.args or group not in GROUPS:
        raise pytest.UsageError(f"{item.nodeid}: pytest.mark.long(group=...) takes one of {', '.join(GROUPS)}")
    return str(group)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # would order by the number of tests, of which the longest files have few
    return OneCluster(config, log)


class OneCluster(LoadFileScheduling):
    """Distributes the tests by file, and all files that need Ray to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return CLUSTER if _needs_ray(self.config.rootpath / file) else file


def pytest_collection_finish(session: pytest.Session) -> None:
    session.stash[_STARTED] = _started_processes()  # libraries run other programs to identify the machine at import


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> object:
    try:
        return (yield)
    finally:
        if item.config.getoption(IN_PROCESS):
            _refuse_processes(item)


def _refuse_processes(item: pytest.Item) -> None:
    before, after = item.session.stash[_STARTED], _started_processes()
    item.session.stash[_STARTED] = after
    if after != before:
        new = sorted(set(after[1]) - set(before[1]))
        running = f", of which {new} still run" if new else ""
        pytest.fail(f"this test has started processes{running}: mark it with pytest.mark.processes")


_STARTED = pytest.StashKey[tuple[int, tuple[int, ...]]]()


def _started_processes() -> tuple[int, tuple[int, ...]]:
    """Returns the page faults of ended child processes, and the running ones; neither changes without a new process."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    return ended, tuple(process.pid for process in psutil.Process().children())


def _starts_processes(item: pytest.Item) -> bool:
    return item.get_closest_marker("processes") is not None or CLUSTER in getattr(item, "fixturenames", ())


def _turn(item: pytest.Item) -> tuple[bool, int]:
    file = item.nodeid.partition("::")[0]
    return not _needs_ray(item.path), LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)


@functools.cache
def _needs_ray(file: Path) -> bool:
    """Returns whether a file has tests that need Ray; by its text, since the scheduling process does not import it."""
    return CLUSTER in file.read_text(encoding="utf-8")
