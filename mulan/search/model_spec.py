"""Which model embeds queries, and whether it is that of the index, without loading it."""

import re
from pathlib import Path

from mulan.config.parsing import parse_json
from mulan.evaluation.encoders.digest import folder_sha256
from mulan.search.errors import UnusableIndex
from mulan.search.manifest import IndexManifest
from mulan.storage import filesystem
from mulan.storage.hub import absolute_spec

_CODE = "python="
"""Beginning of the name of an encoder that is code of another project."""
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]*=")
"""Beginning of the name of an encoder that states its kind."""


def query_model(given: str | None, manifest: IndexManifest, index_uri: str) -> str:
    """Returns the model that embeds queries, ``[KIND=]URI``: the one that is given, or where that of the index was.

    A path is made absolute, since other processes have other working directories.

    Raises:
        UnusableIndex: None is given, and the index names code to run: it may be from somebody else.
    """
    spec = given or manifest.model.uri
    if spec.startswith(_CODE):
        if given:
            return spec
        raise UnusableIndex(
            f"the index {index_uri} has vectors of {spec}, which is code; if you trust it, give it by --model"
        )
    kind, equals, uri = spec.partition("=") if _KIND.match(spec) else ("", "", spec)
    return kind + equals + absolute_spec(uri)


def check_model_folder(spec: str, manifest: IndexManifest, index_uri: str) -> None:
    """Checks that a local folder contains the model of an index. Any other model is checked when it is loaded.

    Args:
        spec: ``[KIND=]URI``.
        manifest: Manifest of the index.
        index_uri: Folder of the index, for messages.

    Raises:
        OtherModel: It contains another model.
        UnusableIndex: It does not exist.
    """
    if _KIND.match(spec) or spec.startswith("hub:") or not filesystem.is_local(spec):
        return
    folder = Path(filesystem.url_to_fs(spec)[1])
    if not folder.is_dir():
        raise UnusableIndex(
            f"the index {index_uri} is searched with the model {spec}, which does not exist; give the folder of the "
            "model where it is now by --model"
        )
    if _is_exported(folder):
        manifest.check_model(folder_sha256(folder), spec, index_uri)


def _is_exported(folder: Path) -> bool:
    """Returns whether mulan has exported the model of a folder; the digest of others is not that of all files."""
    try:
        values = parse_json((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "format" in values
