"""Tests that Ray has the private interfaces that ``mulan/private_ray`` needs, and that it uses no others.

``make test-ray RAY=2.61.0`` tests another release of Ray.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.private_ray.contract import PINNED, Need, mentions, takes
from tests.private_ray.data_needs import DATA_NEEDS
from tests.private_ray.node_needs import NODE_NEEDS
from tests.private_ray.train_needs import TRAIN_NEEDS

ADAPTER = Path(__file__).parents[2] / "mulan/private_ray"
CONTRACT = [*TRAIN_NEEDS, *DATA_NEEDS, *NODE_NEEDS]


@pytest.mark.parametrize("need", CONTRACT, ids=lambda need: need.check.__name__)
def test_ray_meets_the_requirement(need: Need) -> None:
    if difference := need.difference():
        pytest.fail(difference, pytrace=False)


def private_names(file: Path) -> Iterator[str]:
    """Yields what a file imports from Ray's private modules, and the private names that it uses but does not define."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and re.match(r"ray\b.*\._", str(node.module)):
            yield from (alias.name for alias in node.names)
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    used |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    yield from (name for name in used - defined if re.fullmatch(r"_[a-z]\w*", name))


@pytest.mark.parametrize("file", sorted(ADAPTER.glob("*.py")), ids=lambda file: file.stem)
def test_every_private_interface_is_in_the_contract(file: Path) -> None:
    needs = [need for need in CONTRACT if need.user == file.stem]
    listed = {part for need in needs for part in (*re.split(r"[:.]", need.place), *need.parts)}
    assert set(private_names(file)) - listed == set()


class Example:
    def work(self, node: str) -> str:
        return node


def difference_of(check: Any, place: str = "tests.private_ray.test_contract:Example.work") -> str | None:
    return Need(place, "train", "nothing is scaled", check).difference()


def test_messages_about_differences() -> None:
    assert difference_of(lambda work: takes(work, "self", "node", exactly=True)) is None
    for check, place, words in [
        (
            lambda work: takes(work, "self", "nodes"),
            "Example.work",
            r"takes \(self, node\), not \(self, nodes\)",
        ),
        (lambda work: mentions(work, "nodes", "asks no nodes"), "Example.work", "asks no nodes"),
        (lambda work: work(1), "Example.work", "cannot be used as mulan does: TypeError: .*'node'"),
        (lambda _: None, "Example.rest", "does not exist: Example has no rest"),
    ]:
        at = f"tests.private_ray.test_contract:{place}"
        assert re.fullmatch(
            rf"Ray [\d.]+: {place} {words}\. Without it nothing is scaled\. "
            rf"It is {at} in Ray {re.escape(PINNED)}; see mulan/private_ray/train\.py",
            str(difference_of(check, at)),
        )
    assert "does not exist, nor does its module ray.nowhere (No module named" in str(
        difference_of(print, "ray.nowhere:Example")
    )
