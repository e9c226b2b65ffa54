"""Normalisation of the paths and URIs that users write, so that they mean the same in every working directory."""

import os
import re

from fsspec import available_protocols

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
LOCAL_SCHEMES = frozenset({"file", "local"})
CREDENTIALS = "credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, a profile or a role)"
"""Where S3 takes credentials from, for remedies."""
PASSWORD_FAULT = (
    "a URI must not contain keys or passwords, which would be written to files; remove them, and give this user "
    + CREDENTIALS
)
"""What is wrong with a URI that :func:`has_password`, with the remedy."""

_PORT = r"\d+(?:/|$)|\d{1,5}[.,:;)\]'\"]*(?:\s|$)"
"""A port with what follows it, in a URI or in a sentence. What goes on after a punctuation mark may be a password."""
_USER_AND_PASSWORD = re.compile(rf"(?<=:/)(/*)(?!arn:|\[)[^/\s:@]*:(?!{_PORT})(?:\S*@|[^/\s]+)")
"""In a URI, whatever may be a user's name and password: keys of S3 may contain slashes."""
_SIGNATURE = re.compile(r"(?i)([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig)=)[^&\s]+")
"""Query parameters of presigned URLs, with which anybody can read the file."""


def scheme_of(path: str) -> str:
    """Returns the scheme of a URI in lower case; empty if ``path`` is not a URI."""
    match = _SCHEME.match(path)
    return match[1].lower() if match else ""


def redacted(text: str) -> str:
    """Returns a text, such as a message, in which three asterisks stand for the credentials in URIs.

    Example:
        >>> redacted("s3://KEY:SECRET@bucket/music cannot be read")
        's3://***@bucket/music cannot be read'
    """
    if ":/" not in text:
        return text
    text = _USER_AND_PASSWORD.sub(lambda match: match[1] + "***" + "@" * match[0].endswith("@"), text)
    return _SIGNATURE.sub(r"\1***", text)


def has_password(uri: str) -> bool:
    """Returns whether the server or bucket in a URI is preceded by a password or, on S3, by a key."""
    scheme = scheme_of(uri)
    if scheme in ("s3", "s3a") and "@" in uri[len(scheme) + len("://") :].partition("/")[0]:
        return True
    match = _USER_AND_PASSWORD.search(uri)
    return bool(scheme and match and match.start() <= len(scheme) + len("://"))


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
