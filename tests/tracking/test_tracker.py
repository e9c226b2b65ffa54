"""Tests how errors of trackers' libraries are described."""

import pytest

from mulan.tracking.tracker import describe_failure


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\nrefused\nTraceback"), "ValueError: refused"),
        (ConnectionError("https://user:secret@host is down"), "ConnectionError: https://***@host is down"),
        (ValueError("\x1b[31mred\a"), "ValueError: \\x1b[31mred\\x07"),
        (TimeoutError(), "TimeoutError: no message"),
    ],
)
def test_an_error_is_one_printable_line_without_credentials(error: Exception, line: str) -> None:
    assert describe_failure(error) == line


def test_a_long_error_is_cut() -> None:
    assert len(describe_failure(ValueError("x" * 10_000))) == 500
