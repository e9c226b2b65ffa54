"""Calls jobs, and asserts how they refuse."""

from collections.abc import Callable
from pathlib import Path

Job = Callable[..., tuple[int, str, str]]
"""Job and arguments to exit code, standard output and standard error."""


def assert_refused(result: tuple[int, str, str], *named: str) -> None:
    """One message on standard error that names everything, and nothing left behind."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert [name for name in named if name not in err] == []
    assert list(Path.cwd().iterdir()) == []
