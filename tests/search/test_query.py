"""Queries combine what is wanted and what is not, and refuse what cannot be answered."""

import math

import numpy as np
import pytest

from mulan.search.errors import UnusableQuery
from mulan.search.query import MAX_HITS, Filter, Query, combined, quoted
from tests.search.planted import planted_vectors


def test_a_score_is_the_mean_similarity_to_what_is_wanted_minus_that_to_what_is_not() -> None:
    item, *others = planted_vectors(6)
    wanted, unwanted = others[:3], others[3:]
    expected = np.mean([item @ each for each in wanted]) - np.mean([item @ each for each in unwanted])
    assert item @ combined(wanted, unwanted, dim=len(item)) == pytest.approx(expected, abs=1e-6)
    dislike = np.mean([item @ each for each in unwanted])
    assert item @ combined([], unwanted, dim=len(item)) == pytest.approx(-dislike, abs=1e-6)
    assert combined(wanted[:1], dim=len(item)).tolist() == wanted[0].tolist()


def test_without_anything_that_is_wanted_or_not_all_recordings_are_equally_good() -> None:
    assert combined([], dim=3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("low", "high"), [(3.0, 2.0), (-1.0, 2.0), (math.nan, 2.0), (0.0, math.nan)])
def test_durations_in_the_wrong_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(UnusableQuery, match="no recording has a duration from"):
        Filter(min_duration_s=low, max_duration_s=high)


@pytest.mark.parametrize("hits", [0, -1, MAX_HITS + 1])
def test_an_impossible_number_of_hits_is_refused(hits: int) -> None:
    with pytest.raises(UnusableQuery, match=f"ask for 1 to {MAX_HITS}"):
        Query(planted_vectors(1)[0], hits)


def test_texts_from_outside_are_quoted() -> None:
    assert quoted("it's ' OR 1=1 --") == "'it''s '' OR 1=1 --'"
    sql = Filter(("mood:it's",), 1.5, 20.0).sql()
    assert sql == "array_has_all(tags, ['mood:it''s']) AND duration_s >= 1.5 AND duration_s <= 20.0"
    assert Filter().sql() == ""
    assert Filter().is_empty
