"""Tests which errors are retried, and for how long."""

import errno
import time
from collections.abc import Iterator

import pytest

from mulan.storage import retries
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.storage.retries import with_retries


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)


class Failing:
    """A function that raises the given errors, one per call, and then returns 7."""

    def __init__(self, *errors: Exception, first_takes_s: float = 0.0) -> None:
        self._errors: Iterator[Exception] = iter(errors)
        self._first_takes_s = first_takes_s
        self.calls = 0

    def __call__(self, value: int = 7) -> int:
        self.calls += 1
        if self.calls == 1:
            time.sleep(self._first_takes_s)
        for error in self._errors:
            raise error
        return value


def test_transient_errors_are_retried_until_success() -> None:
    function = Failing(OSError(errno.EIO, "?"), TimeoutError(), ConnectionResetError(), OSError(errno.ESTALE, "?"))
    assert with_retries("x", function, value=8) == 8
    assert function.calls == 5


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "allow larger files"),
        (errno.EROFS, "check the URI"),
        (errno.EACCES, "access is denied"),
        (errno.EPERM, "access is denied"),
        (errno.EEXIST, "check the URI"),
    ],
)
def test_permanent_errors_are_not_retried_and_have_a_remedy(code: int, remedy: str) -> None:
    function = Failing(OSError(code, "words of the system"))
    with pytest.raises(
        StoragePermanentError, match=rf"^it cannot be done: words of the system; .*{remedy}.* again to resume$"
    ):
        with_retries("it cannot be done", function)
    assert function.calls == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), IsADirectoryError("x"), NotADirectoryError("x"), KeyError(1)]
)
def test_missing_files_are_raised_to_the_caller(error: Exception) -> None:
    function = Failing(error)
    with pytest.raises(type(error)) as caught:
        with_retries("x", function)
    assert caught.value is error
    assert function.calls == 1


def test_the_timeout_begins_with_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload may take long before it fails."""
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.5)
    passing = OSError(errno.EIO, "?")
    assert with_retries("x", Failing(passing, passing, first_takes_s=0.6)) == 7
    with pytest.raises(
        StorageError,
        match=r"^it failed: \d+ attempts in \d+ s failed, .*run the same command again .* once the storage responds$",
    ) as raised:
        with_retries("it failed", Failing(*[passing] * 10_000))
    assert not isinstance(raised.value, StoragePermanentError)
    assert raised.value.__cause__ is passing
