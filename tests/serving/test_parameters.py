"""Parameters of an address become a request."""

import math

import pytest
from pydantic import ValidationError

from mulan.search.errors import UnusableQuery
from mulan.search.query import Filter
from mulan.serving.parameters import SearchParameters


def test_blank_values_of_a_form_are_ignored() -> None:
    parameters = SearchParameters.model_validate({"q": ["piano", " "], "not": [""], "like": [""], "tag": ["a:b", ""]})
    request = parameters.request()
    assert (request.texts, request.unwanted, request.like, request.hits) == (("piano",), (), (), 10)
    assert request.filter == Filter(("a:b",), 0, math.inf)
    assert parameters.asks
    assert not SearchParameters.model_validate({"q": [" "], "like": [""]}).asks
    assert SearchParameters().request().filter.is_empty


def test_invalid_values_are_refused() -> None:
    for values in ({"k": 0}, {"q": ["x" * 501]}, {"tag": ["a"] * 21}, {"unknown": 1}, {"min_duration_s": -1}):
        with pytest.raises(ValidationError):
            SearchParameters.model_validate(values)
    with pytest.raises(UnusableQuery):
        SearchParameters(min_duration_s=3, max_duration_s=2).request()
