"""The list of the checkpoints in a run's folder, with their sizes and scores but without their contents.

A checkpoint's ``manifest.json``, which is written last, holds the size and SHA-256 of every other file, and the score.
The other files have names that are never used again, so whoever writes a checkpoint leaves the files of others as they
are, and the checkpoint is replaced when its manifest is.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mulan.config.parsing import parse_json
from mulan.storage import filesystem
from mulan.storage.listing import entries_in

MANIFEST, PART_SUFFIX = "manifest.json", ".safetensors"
_PROGRESS = "progress"
_OF_CHECKPOINT = re.compile(rf"(?:state|{_PROGRESS})(?:-g([0-9]+)-.*|[-.].*)")
"""Names of files, with the generation of the lease; earlier versions wrote names without it."""


@dataclass(frozen=True)
class CheckpointInfo:
    """A complete checkpoint in a run's folder: all of its files exist and have the sizes that the manifest states."""

    uri: str
    steps_done: int
    files: Mapping[str, Mapping[str, Any]]
    """Size (``bytes``) and digest (``sha256``) of each file, by name."""
    score: float | None
    """Validation score at this step, by the recipe's selection metric; None without validation."""


def checkpoint_name(steps_done: int) -> str:
    """Returns the name of the folder of a checkpoint."""
    return f"checkpoint_{steps_done:09d}"


def steps_of_checkpoint(name: str) -> int | None:
    """Returns the number of steps of the checkpoint in a folder of this name; None if it is no checkpoint's.

    Example:
        >>> steps_of_checkpoint(checkpoint_name(400)), steps_of_checkpoint("checkpoint_-5")
        (400, None)
    """
    match = re.fullmatch(r"checkpoint_([0-9]{9})", name)
    return int(match[1]) if match else None


def part_name(rank: int, workers: int, generation: int | None) -> str:
    """Returns an unused name for a worker's part.

    Args:
        generation: Generation of the lease of the driver for which it is written; None if it holds no lease.
    """
    return f"state-g{generation or 0}-{rank:05d}-of-{workers:05d}-{_token()}{PART_SUFFIX}"


def progress_name(generation: int | None) -> str:
    """Returns an unused name for the file with the progress; the argument is that of :func:`part_name`."""
    return f"{_PROGRESS}-g{generation or 0}-{_token()}.json"


def is_progress(name: str) -> bool:
    """Returns whether a file of a checkpoint holds the progress."""
    return name.startswith(_PROGRESS)


def _token() -> str:
    return uuid.uuid4().hex[:8]


def checkpoints(run_uri: str) -> list[CheckpointInfo]:
    """Returns the complete checkpoints of a run, newest first. It checks the sizes of files, not their contents."""
    return list(newest_first(run_uri))


def newest_first(run_uri: str) -> Iterator[CheckpointInfo]:
    """Yields the complete checkpoints of a run, newest first; each is looked at only when it is asked for."""
    for name in sorted(checkpoint_names(run_uri), reverse=True):
        info = _info(run_uri, name)
        if info is not None:
            yield info


def newest_checkpoint(run_uri: str) -> CheckpointInfo | None:
    """Returns the newest complete checkpoint of a run, without a look at older ones; None if there is none."""
    return next(newest_first(run_uri), None)


def steps_saved(run_uri: str) -> int:
    """Returns the number of steps of the newest complete checkpoint of a run; 0 if there is none."""
    newest = newest_checkpoint(run_uri)
    return 0 if newest is None else newest.steps_done


def checkpoint_names(run_uri: str) -> list[str]:
    """Returns the names of all checkpoint folders, including incomplete ones and those being written or removed."""
    return [name for name in filesystem.names_in(run_uri) if steps_of_checkpoint(name) is not None]


def remove_checkpoint(uri: str) -> None:
    """Removes a checkpoint, its manifest first: if this is interrupted, the remaining files are not a checkpoint."""
    filesystem.remove(filesystem.join(uri, MANIFEST))
    filesystem.remove_folder(uri)


def remove_unlisted(checkpoint: CheckpointInfo, generation: int | None) -> None:
    """Removes what writers of a checkpoint have left that did not complete it, or whose manifest was replaced.

    What another driver may be writing is kept, as it has a later generation.

    Args:
        generation: Generation of the lease of the driver for which this is called; None if it holds no lease.
    """
    for name in filesystem.names_in(checkpoint.uri):
        found = _OF_CHECKPOINT.fullmatch(name)
        if found and name not in checkpoint.files and int(found[1] or 0) <= (generation or 0):
            filesystem.remove(filesystem.join(checkpoint.uri, name))


def _info(run_uri: str, name: str) -> CheckpointInfo | None:
    uri, steps_done = filesystem.join(run_uri, name), steps_of_checkpoint(name)
    try:
        manifest = parse_json(filesystem.read_bytes(filesystem.join(uri, MANIFEST)))
        files, score = manifest["files"], manifest["score"]
        entries = entries_in(uri)  # the sizes of all parts at once, of which there may be hundreds
        complete = all(file in entries and entries[file].size == info["bytes"] for file, info in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):  # a damaged manifest
        return None
    return CheckpointInfo(uri, steps_done, files, score) if complete and steps_done is not None else None
