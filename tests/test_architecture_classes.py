"""The classes of the code: each has a name of its own, and sections are validated however they are made."""

import ast
import functools
from collections import defaultdict

import pytest

from tests.test_architecture import CODE, ROOT, python_files

UNVALIDATED = {"model_copy": "Section.replace", "model_construct": "the class itself"}
"""Ways of pydantic to make a section without validating it, and what to use in their place."""


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


@pytest.mark.parametrize("name", UNVALIDATED)
def test_sections_are_always_validated(name: str) -> None:
    files = [*CODE, *python_files("tests")]
    users = {file for file in files for node in ast.walk(tree(file)) if getattr(node, "attr", None) == name}
    assert not users, f"use {UNVALIDATED[name]}"


def test_no_two_classes_have_one_name() -> None:
    files: dict[str, list[str]] = defaultdict(list)
    for file in CODE:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(file)
    assert {name: users for name, users in files.items() if len(users) > 1} == {}
