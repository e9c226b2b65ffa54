"""A cache of pretrained weights from other storage, such as ``s3://``, shared by all processes of this machine.

A copy is named by a hash of the URI and of the files' metadata in the storage, so that replaced weights are copied
again. The cache is that of :mod:`mulan.storage.machine_cache`.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mulan.config.paths import LOCAL_SCHEMES, absolute, scheme_of
from mulan.storage import filesystem
from mulan.storage.errors import UnsupportedStorage
from mulan.storage.hub import TEXT_ENCODER, PretrainedError, RequiredFiles, check_folder, pretrained_folder
from mulan.storage.machine_cache import CACHE_VARIABLE, cache_folder, locked
from mulan.storage.retries import with_retries

_VERSION_FIELDS = ("ETag", "etag", "md5Hash", "generation", "mtime", "created")
"""Fields of a file's metadata, on various file systems, that change with its content."""


def weights_folder(spec: str, needed: RequiredFiles = TEXT_ENCODER) -> Path:
    """Returns the local folder of the pretrained weights that a recipe names, which are copied if needed.

    Args:
        spec: Name of the weights as in :func:`mulan.storage.hub.pretrained_folder`, or the URI of a folder.
        needed: Files that the folder must contain.

    Raises:
        PretrainedError: The folder does not exist, lacks a part, or cannot be cached on this machine.
        StorageError: The storage does not respond.
    """
    if not _is_remote(spec):
        return pretrained_folder(spec, needed)
    return check_folder(spec, Path(cached_folder(spec, needed)), needed)


def cached_folder(spec: str, needed: RequiredFiles) -> str:
    """Returns the path of the cached copy of a folder in other storage; any other ``spec`` is returned unchanged.

    The needed files that exist are copied. If several processes call it simultaneously, one copies and the others wait.

    Raises:
        PretrainedError: The folder does not exist or cannot be cached on this machine.
        StorageError: The storage does not respond.
    """
    if not _is_remote(spec):
        return spec
    uri = absolute(spec)
    try:
        versions = _file_versions(uri)
    except UnsupportedStorage as error:
        raise PretrainedError(spec, [f"cannot be read: {error}"], f"Check {needed.field}.") from error
    selected = needed.select(versions)
    if not selected:
        raise PretrainedError(
            spec,
            [f"cannot be read: there are no files of a model in {uri}"],
            f"Set {needed.field} to the folder that contains the model's config.json, or copy a model there.",
        )
    identity = json.dumps([uri, [[name, versions[name]] for name in selected]])
    try:
        cache = cache_folder("pretrained")
    except RuntimeError as error:  # this user has no home folder
        raise PretrainedError(
            spec,
            [f"cannot be cached: {error}"],
            f"Set the environment variable {CACHE_VARIABLE} to a folder on every machine.",
        ) from error
    copy = cache / hashlib.sha256(identity.encode()).hexdigest()[:32]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(copy.with_suffix(".lock")):
            if not copy.is_dir():
                _download(uri, selected, copy)
    except OSError as error:
        raise PretrainedError(
            spec,
            [f"cannot be cached in {cache}: {error.strerror or error}"],
            f"Check the folder, or set the environment variable {CACHE_VARIABLE} to another one on every machine.",
        ) from error
    return str(copy)


def _is_remote(spec: str) -> bool:
    return scheme_of(spec) not in ("", *LOCAL_SCHEMES)


def _file_versions(uri: str) -> dict[str, list[Any]]:
    """Returns the names of the files directly in a folder, each with the metadata that change with its content."""
    fs, path = filesystem.url_to_fs(uri)
    try:
        entries = with_retries(f"{uri} cannot be read", fs.ls, path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files = [(info["name"].rpartition("/")[2], info) for info in entries if info["type"] == "file"]
    # an object with the name of the folder marks the folder
    return {
        name: [info["size"], *(str(info[key]) for key in _VERSION_FIELDS if key in info)]
        for name, info in sorted(files, key=lambda file: file[0])
        if name
    }


def _download(uri: str, names: list[str], copy: Path) -> None:
    fs, path = filesystem.url_to_fs(uri)
    prefix = f"{copy.name}.partial-"
    for stale in copy.parent.glob(f"{prefix}*"):  # left by a killed process: this one holds the lock
        shutil.rmtree(stale)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=copy.parent))
    try:
        for name in names:
            what = f"{filesystem.join(uri, name)} cannot be copied to {copy.parent}"
            with_retries(what, fs.get_file, f"{path}/{name}", str(partial / name))
        partial.rename(copy)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
