"""The checkpoints in a run's folder, without what they hold: names, sizes and scores.

A checkpoint's ``manifest.json``, written last, names the size and the SHA-256 of every other file, and its score.
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
    """One in a run's folder that has all of its files, in their sizes."""

    uri: str
    steps_done: int
    files: Mapping[str, Mapping[str, Any]]
    """``bytes`` and ``sha256`` by name."""
    score: float | None
    """Score of the validation at its step, by the recipe's selection_metric; None where there was none."""


def checkpoint_name(steps_done: int) -> str:
    return f"checkpoint_{steps_done:09d}"


def checkpoints(run_uri: str) -> list[CheckpointInfo]:
    """A run's, newest first, as far as their sizes tell."""
    found = (_listed(run_uri, name) for name in sorted(checkpoint_names(run_uri), reverse=True))
    return [one for one in found if one is not None]


def checkpoint_names(run_uri: str) -> list[str]:
    """Folders that are checkpoints, or shall be, or were."""
    return [name for name in filesystem.names_in(run_uri) if re.fullmatch(r"checkpoint_\d{9}", name)]


def remove_checkpoint(uri: str) -> None:
    """Its manifest first: what is left when this is cut off is no checkpoint."""
    filesystem.remove(filesystem.join(uri, MANIFEST))
    filesystem.remove_folder(uri)


def _listed(run_uri: str, name: str) -> CheckpointInfo | None:
    uri = filesystem.join(run_uri, name)
    try:
        manifest = json.loads(filesystem.read_bytes(filesystem.join(uri, MANIFEST)))
        files, score = manifest["files"], manifest["score"]
        whole = all(filesystem.size(filesystem.join(uri, file)) == about["bytes"] for file, about in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):  # a manifest that is damaged
        return None
    return CheckpointInfo(uri, int(name.rpartition("_")[2]), files, score) if whole else None
