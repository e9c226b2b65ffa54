"""Tests text sampling against the planted laws: uniform numbers of texts, in uniform order."""

from collections import Counter
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from mulan.data.randomness import uniforms
from mulan.data.text_sampling import sample_text

DRAWS = uniforms(12_000, seed=1, purpose="test", key=()).tolist()


def law_of_subsets(texts: list[str]) -> dict[str, Fraction]:
    """Returns the probability of each joined text: of each number of texts, then of each choice and order of them."""
    law = {}
    for size in range(1, len(texts) + 1):
        of_size = [", ".join(chosen) for chosen in permutations(texts, size)]
        law |= {text: Fraction(1, len(texts) * len(of_size)) for text in of_size}
    assert sum(law.values()) == 1
    return law


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_subset_in_every_order_has_its_probability(count: int) -> None:
    law = law_of_subsets(["calm", "piano", "bossa nova", "1990s"][:count])
    seen = Counter(sample_text(["calm", "piano", "bossa nova", "1990s"][:count], "subset", draw=draw) for draw in DRAWS)
    assert seen.keys() == law.keys()
    expected = [float(probability) * len(DRAWS) for probability in law.values()]
    assert chisquare([seen[text] for text in law], expected).pvalue > 1e-3


def test_the_number_of_many_texts_is_uniform_and_all_are_reached() -> None:
    tags = [f"tag {number}" for number in range(25)]
    subsets = [sample_text(tags, "subset", draw=draw).split(", ") for draw in DRAWS]
    assert all(len(set(subset)) == len(subset) and set(subset) <= set(tags) for subset in subsets)
    assert chisquare(list(Counter(map(len, subsets)).values())).pvalue > 1e-3
    assert {len(subset) for subset in subsets} == set(range(1, 26))
    assert chisquare(list(Counter(subset[0] for subset in subsets).values())).pvalue > 1e-3
    assert {subset[0] for subset in subsets} == set(tags)


def test_neighbouring_draws_give_independent_subsets() -> None:
    tags = [f"tag {number}" for number in range(6)]
    steps = [sample_text(tags, "subset", draw=number * 2.0**-53) for number in range(2000)]
    assert len(set(steps)) > 400
    assert chisquare(list(Counter(text.count(",") for text in steps).values())).pvalue > 1e-3


def test_one_text_is_at_the_position_that_the_draw_scales_to() -> None:
    texts = ["a", "b", "a"]
    assert [sample_text(texts, "one", draw=draw) for draw in (0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2.0**-53)] == list(
        "aabbaa"
    )
    for count in (1, 3, 7, 10, 1000):
        many = [str(number) for number in range(count)]
        assert sample_text(many, "one", draw=1 - 2.0**-53) == many[-1]
        assert sample_text(many, "subset", draw=1 - 2.0**-53) and sample_text(many, "subset", draw=0.0)


def test_equal_texts_are_joined_once() -> None:
    assert sample_text(["b", "a", "b", "c", "a"], "all", draw=0.5) == "b, a, c"
    seen = Counter(sample_text(["a", "b", "a"], "subset", draw=draw) for draw in DRAWS)
    assert seen.keys() == law_of_subsets(["a", "b"]).keys()
    assert np.isclose(seen["a"], seen["b"], rtol=0.1)


def test_subsets_keep_their_bits() -> None:
    """A run that is resumed with another version would have other texts."""
    texts = ["calm", "piano", "bossa nova", "1990s", "guitar"]
    assert [sample_text(texts, "subset", draw=draw) for draw in (0.0, 0.25, 0.5, 0.75)] == [
        "guitar, piano, bossa nova, 1990s, calm",
        "bossa nova, calm, 1990s, guitar, piano",
        "calm, guitar",
        "guitar, 1990s, bossa nova",
    ]
