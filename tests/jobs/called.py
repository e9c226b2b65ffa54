"""The type of the fixture that calls jobs, and an assertion about refused calls."""

from collections.abc import Callable
from pathlib import Path

Job = Callable[..., tuple[int, str, str]]
"""Runs a job with arguments, and returns its exit code, standard output and standard error."""


def assert_refused(result: tuple[int, str, str], *named: str) -> None:
    """Asserts exit code 2, one message on standard error that contains all of ``named``, and no files."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert [name for name in named if name not in err] == []
    assert list(Path.cwd().iterdir()) == []
