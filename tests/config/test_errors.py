"""Several errors are one message, and credentials are in none."""

import pytest

from mulan.config.errors import ErrorCollection, MulanError, SeveralErrors


class Temporary(MulanError):
    exit_code = 1


def collected(*errors: MulanError) -> ErrorCollection:
    collection = ErrorCollection()
    for error in errors:
        with collection.collecting():
            raise error
    return collection


def test_nothing_is_raised_without_errors() -> None:
    collected().raise_any()


def test_a_single_error_is_raised_as_it_is() -> None:
    error = Temporary("the storage does not respond")
    with pytest.raises(Temporary) as caught:
        collected(error).raise_any()
    assert caught.value is error


def test_several_errors_are_listed_once_and_those_in_another_list_too() -> None:
    one, other = MulanError("one is wrong"), MulanError("the other is wrong")
    with pytest.raises(SeveralErrors) as caught:
        collected(one, SeveralErrors([MulanError("one is wrong"), other])).raise_any()
    assert str(caught.value) == "there are 2 errors:\n  - one is wrong\n  - the other is wrong"


@pytest.mark.parametrize(("others", "code"), [([Temporary("c")], 1), ([Temporary("c"), MulanError("b")], 2)])
def test_another_attempt_fails_if_it_would_for_one_of_them(others: list[MulanError], code: int) -> None:
    with pytest.raises(SeveralErrors) as caught:
        collected(Temporary("a"), *others).raise_any()
    assert caught.value.exit_code == code


def test_any_other_exception_is_not_collected() -> None:
    with pytest.raises(KeyError), ErrorCollection().collecting():
        raise KeyError


def test_credentials_are_not_in_a_list_of_errors() -> None:
    errors = SeveralErrors([MulanError("s3://key:secret@bucket is full"), MulanError("b")])
    assert "secret" not in str(errors) and "bucket is full" in str(errors)
