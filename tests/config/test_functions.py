"""Tests that functions are found by their names, and that what is wrong with a name is reported."""

import pickle
import statistics
from pathlib import Path

import pytest

from mulan.config.functions import UserFunctionError, import_function


def test_a_function_is_imported_with_its_module() -> None:
    assert import_function("statistics:median") == (statistics, statistics.median)


@pytest.mark.parametrize("name", ["", "statistics", "statistics:", ":median"])
def test_incomplete_names(name: str) -> None:
    with pytest.raises(UserFunctionError, match="does not name a module and a function"):
        import_function(name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("no_such_module:function", "the module no_such_module cannot be imported: ModuleNotFoundError"),
        ("statistics:no_such_function", "the module statistics has no function no_such_function"),
        ("statistics:__doc__", "__doc__ is a str in the module statistics, not a function"),
    ],
)
def test_functions_that_do_not_exist(name: str, fault: str) -> None:
    with pytest.raises(UserFunctionError, match=fault) as caught:
        import_function(name)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_module_that_raises_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_that_raises.py").write_text("raise RuntimeError('no weights')")
    with pytest.raises(UserFunctionError, match="cannot be imported: RuntimeError: no weights"):
        import_function("module_that_raises:function")
