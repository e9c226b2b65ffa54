"""Folders for files that are written locally and then moved to where readers look for them."""

import os
import tempfile

from mulan.storage import filesystem

STAGING_PREFIX = ".being-written-"
"""Beginning of the names of such folders in a local folder; those of processes that were killed remain."""


def staging_folder(uri: str) -> "tempfile.TemporaryDirectory[str]":
    """Creates a temporary folder for files that :func:`mulan.storage.filesystem.upload` moves below ``uri``.

    For a local folder it is in that folder, which is created: TMPDIR may be in memory, or on a smaller disk.

    Raises:
        OSError: It cannot be created.
    """
    folder = filesystem.url_to_fs(uri)[1] if filesystem.is_local(uri) else None
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=folder)
