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


def test_parameters_that_the_form_does_not_show_are_written_as_they_are_read() -> None:
    given = {"q": "piano", "k": "7", "windows": "1", "min_duration_s": "2.50", "max_duration_s": "1e9"}
    unshown = SearchParameters.model_validate({**given, "q": ["piano"]}).unshown
    assert unshown == {"k": "7", "windows": "true", "min_duration_s": "2.5"}
    assert SearchParameters.model_validate(unshown) == SearchParameters(k=7, windows=True, min_duration_s=2.5)


def test_invalid_values_are_refused() -> None:
    for values in ({"k": 0}, {"q": ["x" * 501]}, {"tag": ["a"] * 21}, {"unknown": 1}, {"min_duration_s": -1}):
        with pytest.raises(ValidationError):
            SearchParameters.model_validate(values)
    with pytest.raises(UnusableQuery):
        SearchParameters(min_duration_s=3, max_duration_s=2).request()
