"""Tests that files and functions are short."""

import ast

from tests.test_architecture import CODE, ROOT, python_files

LONGER_THAN_A_MODULE = {"mulan/demo/genres.py": "a table of music"}
MAX_LINES = 350
MAX_FUNCTION_LINES = 60  # without the docstring


def test_no_file_is_long() -> None:
    lengths = {file: len((ROOT / file).read_text().splitlines()) for file in [*CODE, *python_files("tests")]}
    assert {file for file, length in lengths.items() if length > MAX_LINES} == set(LONGER_THAN_A_MODULE)


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns the number of lines of a function without its docstring."""
    first, *_ = function.body
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    assert function.end_lineno is not None and first.end_lineno is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_every_function_fits_a_screen() -> None:
    functions = {
        f"{file}:{node.name}": length_of(node)
        for file in CODE
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"), file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert max(functions.values()) > MAX_FUNCTION_LINES / 2
    assert {name for name, length in functions.items() if length > MAX_FUNCTION_LINES} == set()
