"""Normalisation of the paths and URIs that users write, so that they mean the same in every working directory."""

import os
import re

from fsspec import available_protocols

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
LOCAL_SCHEMES = frozenset({"file", "local"})


def scheme_of(path: str) -> str:
    """Returns the scheme of a URI in lower case; empty if ``path`` is not a URI."""
    match = _SCHEME.match(path)
    return match[1].lower() if match else ""


def is_mistyped(path: str) -> bool:
    """Returns True for probable misspellings of a URI: ``s3:/bucket``, ``://bucket``, ``zip::s3://bucket``.

    A folder of such a name must be written ``./s3:/bucket``.
    """
    beginning, colon, rest = path.partition(":")
    if not colon or scheme_of(path) or "/" in beginning or beginning.startswith((".", "~")):
        return False
    return rest.startswith("//") or "://" in rest or beginning.lower() in available_protocols()


def absolute(path: str | os.PathLike[str]) -> str:
    """Returns a path or URI in a form that means the same in every working directory.

    A local path, also one with ``file://``, becomes absolute, with ``~`` expanded; a URI gets its scheme in lower case;
    trailing slashes are removed. The empty path and probable misspellings of a URI (:func:`is_mistyped`) are returned
    unchanged.

    Example:
        >>> absolute("/music/../corpus/"), absolute("S3://bucket/corpus/"), absolute("s3:/bucket")
        ('/corpus', 's3://bucket/corpus', 's3:/bucket')
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
