"""Paths and URIs as a user writes them, and as they are written down: the same from every folder and every machine."""

import os
import re

from fsspec import available_protocols

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
LOCAL_SCHEMES = frozenset({"file", "local"})


def scheme_of(path: str) -> str:
    """The scheme of a URI, in lower case; empty for all else."""
    found = _SCHEME.match(path)
    return found[1].lower() if found else ""


def is_mistyped(path: str) -> bool:
    """Whether something that is no URI was probably meant as one: ``s3:/bucket``, ``://bucket``, ``zip::s3://bucket``.

    A folder of such a name is written ``./s3:/bucket``.
    """
    beginning, colon, rest = path.partition(":")
    if not colon or scheme_of(path) or "/" in beginning or beginning.startswith((".", "~")):
        return False
    return rest.startswith("//") or "://" in rest or beginning.lower() in available_protocols()


def absolute(path: str | os.PathLike[str]) -> str:
    """A path or URI as it is written down, so that it means the same from every folder.

    A local path, also behind ``file://``, is one from the root on, with ``~`` expanded; a URI has its scheme in lower
    case; neither has a slash at its end. The empty path, and what is probably a mistyped URI (:func:`is_mistyped`),
    stay as they are.
    """
    text = os.fspath(path)
    if not text or (isinstance(path, str) and is_mistyped(text)):
        return text
    scheme = scheme_of(text)
    if not scheme or not isinstance(path, str):
        return os.path.abspath(os.path.expanduser(text))
    rest = text[len(scheme) + len("://") :]
    if scheme in LOCAL_SCHEMES and rest:
        return os.path.abspath(os.path.expanduser(rest))
    return f"{scheme}://{rest.rstrip('/')}"
