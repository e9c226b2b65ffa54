"""Preparations in this process, without Ray, of sources and to folders that are local or on S3."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mulan.preparation.exclusion import Exclusions
from mulan.preparation.pipeline import prepare_chunk
from mulan.preparation.plan import Preparation, plan
from mulan.preparation.prepare import make_corpus
from mulan.preparation.request import load_settings, open_sources, workspace_of
from mulan.storage import filesystem
from mulan.storage.listing import files_below


def requested(sources: Sequence[str], out: str, *settings: str) -> Preparation:
    """Returns the preparation that ``jobs.prepare`` makes of such arguments.

    Args:
        sources: Arguments of ``--source``.
        out: Argument of ``--out``.
        settings: Arguments of ``--set``.
    """
    config = load_settings(settings)
    copied, adopted = open_sources(sources, config)
    return Preparation(copied, adopted, config, Exclusions.read([]), workspace_of(out))


def make(prepared: Preparation) -> dict[str, Any]:
    """Makes a corpus as ``jobs.prepare`` does, and returns the report: no shard is missing when Ray would start."""
    prepared.workspace.check(prepared.settings)
    filesystem.check_writable(prepared.workspace.uri)
    prepared.workspace.begin(prepared.settings)
    for chunk in plan(prepared, write=True).missing:
        prepare_chunk(chunk, prepared.workspace, prepared.config)
    return make_corpus(prepared, plan(prepared, write=False), on_progress=lambda *_: None)


def contents(uri: str) -> dict[str, bytes]:
    """Returns the content of all files in a folder, by their relative paths."""
    return {name: filesystem.read_bytes(filesystem.join(uri, name)) for name in files_below(uri)}


def corpus_in(uri: str) -> dict[str, str]:
    """Returns the digests of the index and of the shards in a folder."""
    files = contents(uri)
    assert "index.parquet" in files
    chosen = (name for name in files if re.fullmatch(r"index\.parquet|shards/.*", name))
    return {name: hashlib.sha256(files[name]).hexdigest() for name in chosen}


def leaking(secrets: Iterable[str], files: dict[str, bytes]) -> list[str]:
    """Returns the names of the files that contain a secret, in UTF-8."""
    return [name for name, content in files.items() if any(secret.encode() in content for secret in secrets)]
