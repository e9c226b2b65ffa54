"""Tests the domains of search spaces: what is drawn from them, their checks, and values as settings."""

import datetime
import math
from typing import Any

import numpy as np
import pytest

from mulan.config.validation import parsed_settings
from tune.domains import NumberInterval, Values, as_text, parse_domain, settings


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
def test_intervals_are_drawn_evenly_on_their_scale(kind: Any) -> None:
    domain, draws = NumberInterval(kind, 1e-4, 1e-1), np.random.default_rng(0)
    drawn = np.array([domain.sample(draws) for _ in range(4000)])
    places = np.log(drawn / 1e-4) / math.log(1e3) if kind == "loguniform" else (drawn - 1e-4) / (1e-1 - 1e-4)
    # each of ten equal parts has 400 draws, with a standard deviation of 19
    assert np.abs(np.histogram(places, bins=10, range=(0, 1))[0] - 400).max() < 100
    assert 1e-4 <= drawn.min() < drawn.max() <= 1e-1


def test_integers_and_lists_are_drawn_whole_with_both_ends() -> None:
    draws = np.random.default_rng(0)
    assert {NumberInterval("randint", 2, 5).sample(draws) for _ in range(100)} == {2, 3, 4, 5}
    assert {Values("choice", ("a", 1, 0.5)).sample(draws) for _ in range(100)} == {"a", 1, 0.5}


def test_values_are_recognized() -> None:
    assert all(NumberInterval("uniform", 0, 1).contains(value) for value in (0, 0.5, 1))
    assert not any(NumberInterval("uniform", 0, 1).contains(value) for value in (-0.1, 1.1, "0.5", True, None))
    assert not any(NumberInterval("randint", 0, 3).contains(value) for value in (1.5, 1.0, True))
    assert Values("choice", ([1, 2], "a")).contains([1, 2])
    assert not any(Values("choice", (1, "a")).contains(value) for value in (True, 1.0, None, math.nan, {"a": 1}))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({}, "f has no domain; give one of uniform, loguniform, randint, choice, grid"),
        ({"normal": [0, 1]}, "f has 'normal'; give one of"),
        ({"uniform": [0, 1], "choice": [1]}, "f has 'uniform' and 'choice'; give one of"),
        ({"uniform": 3}, "f: uniform = 3 is not a list"),
        ({"uniform": [1, 1]}, r"f: uniform = [1, 1] is empty; the first bound must be below the second"),
        ({"loguniform": [1e-2, 1e-4]}, "is empty"),
        ({"loguniform": [0, 1]}, "must be above 0"),
        ({"uniform": [0, math.inf]}, "must be finite"),
        ({"uniform": [-1e308, 1e308]}, "must be finite"),
        ({"uniform": [0, 10**400]}, "must be at most"),
        ({"randint": [0, 10**20]}, "must be at most"),
        ({"choice": [datetime.date(1979, 5, 27)]}, "may only have numbers"),
        ({"choice": [[1, {"a": 1}]]}, "may only have numbers"),
        ({"grid": [1.0, math.nan]}, "may only have numbers"),
        ({"uniform": [0, 1, 2]}, "must be two numbers, the bounds"),
        ({"uniform": [False, True]}, "must be two numbers"),
        ({"randint": [0, 1.5]}, "must be two integers"),
        ({"choice": []}, "is empty; list the values"),
        ({"grid": [1, 2, 1]}, "repeats 1"),
        ({"choice": [1, 2, 1.0]}, "repeats 1 and 1.0"),
        ({"choice": [0.0, -0.0]}, "repeats -0.0 and 0.0"),
        ({"choice": [[[[[[1]]]]]]}, "may only have numbers"),
        ({"choice": [{"family": "ast"}]}, "contains a whole section; vary its fields instead"),
    ],
)
def test_invalid_domains_are_explained(table: dict[str, Any], fault: str) -> None:
    domain, found = parse_domain("f", table)
    assert domain is None
    assert fault in found


def test_a_domain_equals_that_of_its_file() -> None:
    for table in ({"loguniform": [1e-4, 1e-2]}, {"randint": [0, 3]}, {"choice": [[1, 2], "a", True, 0.5]}):
        domain, fault = parse_domain("f", table)
        assert (domain is not None, fault) == (True, "")
        assert domain is not None
        assert domain.to_json() == table


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.0,
        1e-7,
        0.123456789,
        True,
        "last",
        "1",
        "true",
        "a: ",
        r'a "b" \ c',
        "",
        "[1]",
        [1, 2],
        ["a", "b c"],
        "1\nd = 2",
        "c\nd = 1",
        "\x1b[3\x7f",
    ],
)
def test_settings_are_parsed_as_their_values(value: Any) -> None:
    changes, faults = parsed_settings(settings({"section.field": value}))
    assert (changes, faults) == ([("section.field", value)], [])
    assert type(changes[0][1]) is type(value)


def test_simple_values_need_no_quotes() -> None:
    assert [as_text(value) for value in ("last", 0.001, [32, 64], False)] == ["last", "0.001", "[32, 64]", "false"]
