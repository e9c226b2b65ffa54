"""Pretrained weights in other storage, such as ``s3://``: copied to this machine once, for all of its processes.

A copy is named by the URI and by what the storage says of the files, so that weights that were replaced are copied
again. It lies below the folder of the environment variable ``MULAN_CACHE`` or, without it, below ``~/.cache/mulan``.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mulan.config.paths import LOCAL_SCHEMES, absolute, scheme_of
from mulan.storage import filesystem
from mulan.storage.errors import UnsupportedStorage
from mulan.storage.hub import TEXT_ENCODER, Needed, PretrainedError, pretrained_folder, whole_folder
from mulan.storage.retries import with_retries

PLACE = "MULAN_CACHE"
"""The environment variable."""

_CHANGES_WITH_CONTENT = ("ETag", "etag", "md5Hash", "generation", "mtime", "created")
"""What storage of one kind or another says of a file, beside its size."""


def weights_folder(spec: str, needed: Needed = TEXT_ENCODER) -> Path:
    """The folder on this machine of what a field of the recipe names.

    Args:
        spec: as :func:`mulan.storage.hub.pretrained_folder` has it, or the URI of such a folder.
        needed: what the folder is for.

    Raises:
        PretrainedError: it is not there, lacks a part, or cannot be kept on this machine.
        StorageError: its storage does not answer.
    """
    if not _is_elsewhere(spec):
        return pretrained_folder(spec, needed)
    return whole_folder(spec, Path(on_this_machine(spec, needed)), needed)


def on_this_machine(spec: str, needed: Needed) -> str:
    """Path of this machine's copy of a folder in other storage; all else is given back as it is.

    The files are those that are needed, as far as they are there. Of processes that ask at the same time one copies,
    and the others wait for it.

    Raises:
        PretrainedError: there is no such folder, or no copy of it can be kept here.
        StorageError: its storage does not answer.
    """
    if not _is_elsewhere(spec):
        return spec
    uri = absolute(spec)
    try:
        told = _files(uri)
    except UnsupportedStorage as error:
        raise PretrainedError(spec, [f"cannot be read: {error}"], f"See to {needed.field}.") from error
    chosen = needed.chosen(told)
    if not chosen:
        raise PretrainedError(
            spec,
            [f"cannot be read: there is no file of a model in {uri}"],
            f"Set {needed.field} to the folder that holds the model's config.json, or copy one there.",
        )
    identity = json.dumps([uri, [[name, told[name]] for name in chosen]])
    try:
        place = _place()
    except RuntimeError as error:  # nobody knows this user's home
        raise PretrainedError(
            spec, [f"cannot be kept: {error}"], f"Name a folder in the environment variable {PLACE} of every machine."
        ) from error
    copy = place / hashlib.sha256(identity.encode()).hexdigest()[:32]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(copy.with_suffix(".lock")):
            if not copy.is_dir():
                _download(uri, chosen, copy)
    except OSError as error:
        raise PretrainedError(
            spec,
            [f"cannot be kept in {place}: {error.strerror or error}"],
            f"See to the folder, or name another one in the environment variable {PLACE} of every machine.",
        ) from error
    return str(copy)


def _is_elsewhere(spec: str) -> bool:
    return scheme_of(spec) not in ("", *LOCAL_SCHEMES)


def _place() -> Path:
    named = os.environ.get(PLACE)
    return Path(absolute(named) if named else Path.home() / ".cache" / "mulan") / "pretrained"


def _files(uri: str) -> dict[str, list[Any]]:
    """Names of the files of a folder, but for those in folders of its own, each with what changes with its content."""
    fs, path = filesystem.url_to_fs(uri)
    try:
        found = with_retries(f"{uri} cannot be read", fs.ls, path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files = [(info["name"].rpartition("/")[2], info) for info in found if info["type"] == "file"]
    # an object of the folder's own name stands for the folder
    return {
        name: [info["size"], *(str(info[key]) for key in _CHANGES_WITH_CONTENT if key in info)]
        for name, info in sorted(files, key=lambda file: file[0])
        if name
    }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time in; the system lets the next one in when a process ends, however it ends."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(uri: str, names: list[str], copy: Path) -> None:
    fs, path = filesystem.url_to_fs(uri)
    begun = f"{copy.name}.partial-"
    for left in copy.parent.glob(f"{begun}*"):  # by a process that was killed: whoever is here has the lock
        shutil.rmtree(left)
    partial = Path(tempfile.mkdtemp(prefix=begun, dir=copy.parent))
    try:
        for name in names:
            what = f"{filesystem.join(uri, name)} cannot be copied to {copy.parent}"
            with_retries(what, fs.get_file, f"{path}/{name}", str(partial / name))
        partial.rename(copy)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
