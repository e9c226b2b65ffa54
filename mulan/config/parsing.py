"""JSON, TOML and YAML that anyone may have written: every fault in them is a ValueError.

The parsers themselves raise other errors for some content: a RecursionError for deep nesting, and for YAML errors of
its own.
"""

import json
import tomllib
from collections.abc import Callable
from typing import Any

import yaml


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Raises:
        ValueError: It is not JSON, or nested too deeply.

    Example:
        >>> parse_json('{"steps": 3}')
        {'steps': 3}
    """
    return _parsed(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML.

    Raises:
        ValueError: It is not TOML, or nested too deeply, or has a number of too many digits.

    Example:
        >>> parse_toml("steps = 3")
        {'steps': 3}
    """
    values: dict[str, Any] = _parsed(tomllib.loads, text)
    return values


def parse_yaml(text: str) -> Any:
    """Parses a YAML document, of which no tag can construct anything but plain values.

    Raises:
        ValueError: It is not YAML, or nested too deeply, or has a date that does not exist.

    Example:
        >>> parse_yaml("steps: 3")
        {'steps': 3}
    """
    try:
        return _parsed(yaml.safe_load, text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _parsed(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    try:
        return parse(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
