"""The list of checkpoints in a run's folder, with sizes and scores but without their contents.

A checkpoint's ``manifest.json``, written last, has the size and the SHA-256 of every other file, and the score.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mulan.storage import filesystem

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint in a run's folder that has all of its files, in the right sizes."""

    uri: str
    steps_done: int
    files: Mapping[str, Mapping[str, Any]]
    """The ``bytes`` and ``sha256`` of each file, by name."""
    score: float | None
    """The score of the validation at its step, by the recipe's selection metric; None without validation."""


def checkpoint_name(steps_done: int) -> str:
    return f"checkpoint_{steps_done:09d}"


def checkpoints(run_uri: str) -> list[CheckpointInfo]:
    """Returns the complete checkpoints of a run, newest first. Checks the sizes of files, not their contents."""
    infos = (_info(run_uri, name) for name in sorted(checkpoint_names(run_uri), reverse=True))
    return [info for info in infos if info is not None]


def checkpoint_names(run_uri: str) -> list[str]:
    """Returns the names of all checkpoint folders, including incomplete ones and those being written or removed."""
    return [name for name in filesystem.names_in(run_uri) if re.fullmatch(r"checkpoint_\d{9}", name)]


def remove_checkpoint(uri: str) -> None:
    """Removes a checkpoint, its manifest first: if this is interrupted, the rest does not count as a checkpoint."""
    filesystem.remove(filesystem.join(uri, MANIFEST))
    filesystem.remove_folder(uri)


def _info(run_uri: str, name: str) -> CheckpointInfo | None:
    uri = filesystem.join(run_uri, name)
    try:
        manifest = json.loads(filesystem.read_bytes(filesystem.join(uri, MANIFEST)))
        files, score = manifest["files"], manifest["score"]
        whole = all(filesystem.size(filesystem.join(uri, file)) == about["bytes"] for file, about in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):  # a damaged manifest
        return None
    return CheckpointInfo(uri, int(name.rpartition("_")[2]), files, score) if whole else None
