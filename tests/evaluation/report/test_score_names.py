"""Numbers are written as readers expect them."""

import pytest

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.score_names import SECTION_TITLES, bounds, chance_of, fixed, score_name, signed


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.12345, "0.123", "+0.123"),
        (-0.5, "\N{MINUS SIGN}0.500", "\N{MINUS SIGN}0.500"),
        (-0.0001, "0.000", "0.000"),
        (0.0, "0.000", "0.000"),
        (12_345.0, "12,345.000", "+12,345.000"),
        (None, "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_numbers_have_fixed_digits_and_no_negative_zero(value: float | None, plain: str, with_sign: str) -> None:
    assert (fixed(value), signed(value)) == (plain, with_sign)


def test_intervals_are_written_and_missing_ones_are_not() -> None:
    assert bounds([1.0, 22.25], 1) == "1.0\N{EN DASH}22.2"
    assert bounds([-1.0, 2.0], 1) == "\N{MINUS SIGN}1.0 to 2.0"
    assert bounds([-1.0, 2.0], 1, is_difference=True) == "\N{MINUS SIGN}1.0 to +2.0"
    assert bounds(None) == bounds([None, 1.0]) == ""


def test_every_section_has_a_title_and_every_score_a_name() -> None:
    assert set(SECTION_TITLES) == set(SECTIONS)
    assert score_name("median_rank").is_better_low
    assert not score_name("map").is_better_low
    assert score_name("some_new_score").label == "some new score"


def test_chance_is_what_the_set_states() -> None:
    assert chance_of("roc_auc", {"details": {"chance": {"roc_auc": 0.5}}}) == 0.5
    assert chance_of("map", {"details": {"chance": {"roc_auc": 0.5}}}) is None
    assert chance_of("map", {"details": {}}) is None
