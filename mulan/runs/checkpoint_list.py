"""The list of the checkpoints in a run's folder, with their sizes and scores but without their contents.

A checkpoint's ``manifest.json``, which is written last, holds the size and SHA-256 of every other file, and the score.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mulan.config.parsing import parse_json
from mulan.storage import filesystem

MANIFEST = "manifest.json"


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


def checkpoints(run_uri: str) -> list[CheckpointInfo]:
    """Returns the complete checkpoints of a run, newest first. It checks the sizes of files, not their contents."""
    infos = (_info(run_uri, name) for name in sorted(checkpoint_names(run_uri), reverse=True))
    return [info for info in infos if info is not None]


def checkpoint_names(run_uri: str) -> list[str]:
    """Returns the names of all checkpoint folders, including incomplete ones and those being written or removed."""
    return [name for name in filesystem.names_in(run_uri) if re.fullmatch(r"checkpoint_\d{9}", name)]


def remove_checkpoint(uri: str) -> None:
    """Removes a checkpoint, its manifest first: if this is interrupted, the remaining files are not a checkpoint."""
    filesystem.remove(filesystem.join(uri, MANIFEST))
    filesystem.remove_folder(uri)


def _info(run_uri: str, name: str) -> CheckpointInfo | None:
    uri = filesystem.join(run_uri, name)
    try:
        manifest = parse_json(filesystem.read_bytes(filesystem.join(uri, MANIFEST)))
        files, score = manifest["files"], manifest["score"]
        complete = all(filesystem.size(filesystem.join(uri, file)) == info["bytes"] for file, info in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):  # a damaged manifest
        return None
    return CheckpointInfo(uri, int(name.rpartition("_")[2]), files, score) if complete else None
