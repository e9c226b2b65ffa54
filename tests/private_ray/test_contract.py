"""That this Ray has what ``mulan/private_ray`` needs of it, and that nothing else private of it is used there.

``make test-ray RAY=2.59.0`` asks another Ray.
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
def test_ray_has_what_is_needed(need: Need) -> None:
    if difference := need.difference():
        pytest.fail(difference, pytrace=False)


def private_names(file: Path) -> Iterator[str]:
    """What a file imports of Ray's private modules, and the private names that it uses and does not make itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and re.match(r"ray\b.*\._", str(node.module)):
            yield from (alias.name for alias in node.names)
    made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    made |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    used |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    yield from (name for name in used - made if re.fullmatch(r"_[a-z]\w*", name))


@pytest.mark.parametrize("file", sorted(ADAPTER.glob("*.py")), ids=lambda file: file.stem)
def test_whatever_is_private_is_in_the_contract(file: Path) -> None:
    needs = [need for need in CONTRACT if need.user == file.stem]
    listed = {part for need in needs for part in (*re.split(r"[:.]", need.place), *need.parts)}
    assert set(private_names(file)) - listed == set()


class Thing:
    def work(self, node: str) -> str:
        return node


def told(check: Any, place: str = "tests.private_ray.test_contract:Thing.work") -> str | None:
    return Need(place, "train", "nothing is scaled", check).difference()


def test_a_difference_is_told_in_words() -> None:
    assert told(lambda work: takes(work, "self", "node", exactly=True)) is None
    for check, place, words in [
        (
            lambda work: takes(work, "self", "nodes"),
            "Thing.work",
            r"takes \(self, node\), not \(self, nodes\)",
        ),
        (lambda work: mentions(work, "nodes", "asks no nodes"), "Thing.work", "asks no nodes"),
        (lambda work: work(1), "Thing.work", "cannot be used as mulan does: TypeError: .*'node'"),
        (lambda _: None, "Thing.rest", "is not there: Thing has no rest"),
    ]:
        at = f"tests.private_ray.test_contract:{place}"
        assert re.fullmatch(
            rf"Ray [\d.]+: {place} {words}\. Without it nothing is scaled\. "
            rf"It is {at} in Ray {re.escape(PINNED)}; see mulan/private_ray/train\.py",
            str(told(check, at)),
        )
    assert "is not there, nor its module ray.nowhere (No module named" in str(told(print, "ray.nowhere:Thing"))
