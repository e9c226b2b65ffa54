"""Tests that class names are unique, that components take their own sections, and that sections are validated."""

import ast
import functools
import re
from collections import defaultdict

import pytest

from tests.test_architecture import CODE, ROOT, python_files

UNVALIDATED = {"model_copy": "Section.replace", "model_construct": "the class itself"}
"""Methods of pydantic that create a section without validating it, and what to use instead."""


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


@pytest.mark.parametrize("name", UNVALIDATED)
def test_sections_are_always_validated(name: str) -> None:
    files = [*CODE, *python_files("tests")]
    users = {file for file in files for node in ast.walk(tree(file)) if getattr(node, "attr", None) == name}
    assert not users, f"use {UNVALIDATED[name]}"


TAKING_SECTIONS = ("mulan/model/", "mulan/objectives/", "mulan/data/")
TAKING_A_RECIPE = {
    "mulan/data/reader.py": {
        "from_recipe": "opens the corpus once for plans, labels, masks and texts, with nine sections"
    }
}
"""Functions of these packages that take a whole recipe, and the reasons."""


def takes_a_recipe(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = [ast.unparse(argument.annotation) for argument in arguments if argument.annotation is not None]
    return any(re.search(r"\bRecipe\b", annotation) for annotation in annotations)


def test_components_take_their_own_sections() -> None:
    takers: dict[str, set[str]] = defaultdict(set)
    for file in CODE:
        for node in ast.walk(tree(file)):
            if file.startswith(TAKING_SECTIONS) and isinstance(node, ast.FunctionDef) and takes_a_recipe(node):
                takers[file].add(node.name)
    assert takers == {file: set(functions) for file, functions in TAKING_A_RECIPE.items()}


def test_class_names_are_unique() -> None:
    files: dict[str, list[str]] = defaultdict(list)
    for file in CODE:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(file)
    assert {name: users for name, users in files.items() if len(users) > 1} == {}
