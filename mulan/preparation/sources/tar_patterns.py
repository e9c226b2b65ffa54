"""Names of many files in one: braces (``{000..099}``, ``{train,test}``) and the patterns of shells (``*``, ``?``)."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product

MAX_NAMES = 1_000_000
"""Maximum number of names that braces stand for."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_GLOB = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """Returns whether a path has characters of a pattern."""
    return bool(_GLOB.search(path) or _BRACES.search(path))


def has_wildcards(path: str) -> bool:
    """Returns whether a path has characters for which any others may stand, so that only a listing tells the names."""
    return bool(_GLOB.search(path))


def split_pattern(path: str) -> tuple[str, str]:
    """Splits a path into the folder before the first component that is a pattern, and the rest.

    Example:
        >>> split_pattern("s3://bucket/music/{train,test}/*.tar")
        ('s3://bucket/music', '{train,test}/*.tar')
    """
    parts = path.split("/")
    first = next((number for number, part in enumerate(parts) if is_pattern(part)), len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])


def expand_braces(pattern: str) -> list[str]:
    """Returns the names that a pattern with braces stands for, in order; numbers keep their leading zeros.

    Example:
        >>> expand_braces("{a,b}-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']

    Raises:
        ValueError: A range descends, or they are more than :data:`MAX_NAMES` names.
    """
    parts = _BRACES.split(pattern)
    choices: list[Sequence[int | str]] = []
    count = 1
    for text in parts[1::2]:
        match = _RANGE.fullmatch(text)
        values: Sequence[int | str] = range(int(match[1]), int(match[2]) + 1) if match else text.split(",")
        if not values:
            raise ValueError(f"{{{text}}} is an empty range")
        count *= len(values)
        choices.append(values)
        if count > MAX_NAMES:
            raise ValueError(f"it stands for more than {MAX_NAMES:,} names")
    widths = [len(text.partition("..")[0]) for text in parts[1::2]]
    return ["".join(_alternating(parts[::2], chosen, widths)) for chosen in product(*choices)]


def _alternating(texts: list[str], chosen: tuple[int | str, ...], widths: list[int]) -> Iterator[str]:
    yield texts[0]
    for text, value, width in zip(texts[1:], chosen, widths, strict=True):
        yield f"{value:0{width}d}" if isinstance(value, int) else value
        yield text


def matches(path: str, pattern: str) -> bool:
    """Returns whether a relative path matches a pattern, of which each component stands for one."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
