"""Tests that every fault of a JSON, TOML or YAML text is a ValueError."""

from collections.abc import Callable
from typing import Any

import pytest

from mulan.config.parsing import parse_json, parse_toml, parse_yaml

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_json, "{"),
        (parse_json, b"\xff"),
        (parse_json, DEEP),
        (parse_json, '{"a":' * 100_000),
        (parse_json, "9" * 5000),
        (parse_toml, "a = "),
        (parse_toml, f"a = {DEEP}"),
        (parse_toml, "a = " + "9" * 5000),
        (parse_yaml, "a: ["),
        (parse_yaml, DEEP),
        (parse_yaml, "a: 2020-99-99"),
        (parse_yaml, "!!python/object/apply:os.getcwd []"),
    ],
)
def test_every_fault_is_a_value_error(parse: Callable[[Any], Any], text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_what_is_valid_is_parsed() -> None:
    assert parse_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    assert parse_toml("[a]\nb = true") == {"a": {"b": True}}
    assert parse_yaml("a: [1, x]") == {"a": [1, "x"]}
