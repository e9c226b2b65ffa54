"""The runs of a storage: single ones, and those of sweeps and ablations in groups."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from fsspec.implementations.local import LocalFileSystem

from mulan.config.errors import MulanError
from mulan.monitoring.driver import newest_driver
from mulan.monitoring.status import RunState, RunStatus, run_status
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem
from mulan.storage.listing import FolderEntry, entries_in

_CONCURRENCY = 32
"""Number of folders that are read at a time."""
_MAX_VARIANTS = 64
"""Maximum number of folders in a folder without a recipe that are searched for runs."""
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.=-]*"

SWEEP, ABLATION = "sweep", "ablation"
"""Kinds of groups."""


@dataclass(frozen=True)
class RunGroup:
    """A sweep or an ablation, whose runs are in folders of its own."""

    name: str
    """Name of the group."""
    uri: str
    """Its folder."""
    kind: str
    """:data:`SWEEP` or :data:`ABLATION`."""
    is_driven: bool
    """Whether a driver of the sweep, or of a variant, is alive."""
    runs: tuple[RunStatus, ...]
    """Its runs."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs in each state."""
        return {str(state): count for state, count in Counter(each.state for each in self.runs).items()}

    @property
    def best(self) -> RunStatus | None:
        """The run with the best score; None without scores."""
        scored = [each for each in self.runs if each.best_score is not None]
        return max(scored, key=lambda each: each.best_score or 0.0, default=None)


@dataclass(frozen=True)
class OtherFolder:
    """A folder among the runs that is none."""

    name: str
    """Name of the folder."""
    reason: str
    """Why it is no run."""


Listed = RunStatus | RunGroup | OtherFolder


@dataclass(frozen=True)
class _Folder:
    name: str
    uri: str
    entries: Mapping[str, FolderEntry]
    kind: str
    """:data:`_RUN` or a kind of group, otherwise the reason why it is neither."""
    runs: tuple[Run, ...] = ()
    """The run itself, or those of the group."""

    def name_of(self, run: Run) -> str:
        return self.name if self.kind == _RUN else f"{self.name}/{run.name}"


_RUN = "run"


class NoStorage(MulanError):
    """Raised for a local folder of runs that does not exist."""


def list_runs(storage_uri: str) -> list[Listed]:
    """Returns what is in a folder of runs, in the order of the names; nothing of remote storage without objects.

    Raises:
        NoStorage: There is no such folder on this machine.
        StorageError: The storage does not respond.
    """
    uri = filesystem.absolute(storage_uri)
    _check_folder(uri)
    names = [name for name, entry in entries_in(uri).items() if entry.is_folder and not name.startswith(".")]
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        return _read(list(pool.map(lambda name: _classified(uri, name), names)), pool)


def find(storage_uri: str, name: str) -> RunStatus | RunGroup:
    """Returns a run or a group by its name; ``SWEEP/TRIAL`` and ``ABLATION/VARIANT`` name runs of groups.

    Raises:
        NoStorage: There is no such folder of runs on this machine.
        RunError: There is no such run in it.
        StorageError: The storage does not respond.
    """
    group, _, member = name.rstrip("/").partition("/")
    parent = Run.at(storage_uri, group)
    folder = _classified(parent.storage_uri, parent.name)
    if member:
        runs = [run for run in folder.runs if run.name == member and folder.kind != _RUN]
        folder = replace(folder, runs=tuple(runs))
    if not folder.runs and (member or folder.kind != SWEEP):
        _check_folder(parent.storage_uri)
        what = filesystem.printable(f"{parent.uri}/{member}" if member else parent.uri)
        raise RunError(f"there is no run {what}; python -m jobs.runs list --storage {storage_uri} names all")
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        (found,) = _read([folder], pool)
    if isinstance(found, RunGroup) and member:
        return found.runs[0]
    assert not isinstance(found, OtherFolder), found
    return found


def _check_folder(uri: str) -> None:
    """Raises a NoStorage error for a local folder that does not exist, which a mistyped ``--storage`` names."""
    fs, path = filesystem.url_to_fs(uri)
    if isinstance(fs, LocalFileSystem) and not os.path.isdir(path):
        fault = "is no folder" if os.path.lexists(path) else "does not exist"
        raise NoStorage(
            f"--storage {filesystem.printable(path)} {fault}; give the folder with which the runs were started"
        )


def _read(folders: Sequence[_Folder], pool: ThreadPoolExecutor) -> list[Listed]:
    runs = [(folder, run) for folder in folders for run in folder.runs]
    statuses = list(pool.map(lambda each: _status_of(*each), runs))
    driven = dict(zip([each.name for each in folders], pool.map(_is_driven, folders), strict=True))
    read: list[Listed] = []
    for folder in folders:
        own = tuple(status for (of, _), status in zip(runs, statuses, strict=True) if of is folder)
        if folder.kind == _RUN:
            read.append(own[0])
        elif folder.kind in (SWEEP, ABLATION):
            is_driven = driven[folder.name] or any(not each.state.is_over for each in own)
            read.append(RunGroup(folder.name, folder.uri, folder.kind, is_driven, own))
        else:
            read.append(OtherFolder(folder.name, folder.kind))
    return read


def _classified(storage_uri: str, name: str) -> _Folder:
    """Finds out, by one or two requests, what a folder is."""
    uri = filesystem.join(storage_uri, name)
    if not re.fullmatch(_NAME, name):
        return _Folder(filesystem.printable(name), uri, {}, "its name is not that of a run")
    try:
        entries = entries_in(uri)
        if "recipe.toml" in entries or "lease" in entries:
            if "trials" not in entries:
                return _Folder(name, uri, entries, _RUN, (Run(storage_uri, name),))
            trials = filesystem.join(uri, "trials")
            return _Folder(name, uri, entries, SWEEP, _runs_in(trials, entries_in(trials)))
        runs = _runs_in(uri, entries)[:_MAX_VARIANTS]
        recipes = filesystem.read_ranges([each.recipe_uri for each in runs], [0] * len(runs), [1] * len(runs))
    except (MulanError, OSError) as error:
        return _Folder(name, uri, {}, filesystem.printable(f"cannot be read: {error}"))
    runs = tuple(run for run, content in zip(runs, recipes, strict=True) if isinstance(content, bytes))
    return _Folder(name, uri, entries, ABLATION if runs else "no recipe.toml", runs)


def _runs_in(uri: str, entries: Mapping[str, FolderEntry]) -> tuple[Run, ...]:
    return tuple(Run(uri, name) for name, each in entries.items() if each.is_folder and re.fullmatch(_NAME, name))


def _status_of(folder: _Folder, run: Run) -> RunStatus:
    """Returns the status of one run among others; what is wrong with it does not hide them."""
    name = folder.name_of(run)
    try:
        return run_status(run, name=name, entries=folder.entries if folder.kind == _RUN else None)
    except (MulanError, OSError) as error:
        return RunStatus(name, run.uri, RunState.DAMAGED, filesystem.printable(str(error)))


def _is_driven(folder: _Folder) -> bool:
    """Returns whether a sweep has a driver that is alive."""
    if folder.kind != SWEEP:
        return False
    try:
        driver = newest_driver(folder.uri)
    except (MulanError, OSError):
        return False
    return driver is not None and driver.is_alive
