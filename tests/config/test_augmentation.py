"""Tests the pitch ratios that a sample rate allows."""

from fractions import Fraction

import pytest

from mulan.config.augmentation import pitch_ratios


@pytest.mark.parametrize(
    ("sample_rate_hz", "ratios"),
    [
        (22_050, "5/6 21/25 6/7 9/10 45/49 14/15 49/50 50/49 15/14 49/45 10/9 7/6 25/21 6/5"),
        (16_000, "4/5 125/128 128/125 5/4"),
    ],
)
def test_ratios_within_4_semitones_are_those_of_the_authors_library(sample_rate_hz: int, ratios: str) -> None:
    """The expected ones were listed by torch-pitch-shift 1.2.5."""
    assert pitch_ratios(sample_rate_hz, 4) == [Fraction(ratio) for ratio in ratios.split()]


def test_bounds_are_inclusive_and_1_is_excluded() -> None:
    assert pitch_ratios(8, 12) == [Fraction(1, 2), Fraction(2)]
    assert pitch_ratios(8, 11.99) == []


@pytest.mark.parametrize("sample_rate_hz", [1, 8009])
def test_a_rate_without_divisors_allows_no_ratio(sample_rate_hz: int) -> None:
    assert pitch_ratios(sample_rate_hz, 12) == []
