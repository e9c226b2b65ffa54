"""Tests that nodes are checked by tasks."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mulan.launch.capacity import capacity
from mulan.launch.probe import NodeRequirements, versions
from mulan.launch.probing import probe_nodes


def test_all_problems_of_a_node_are_returned(ray_cluster: None, tmp_path: Path) -> None:
    (node,) = capacity().nodes
    required = NodeRequirements(versions() | {"Ray": "0.1"}, corpus_uris=(str(tmp_path / "none"),), free_bytes=1)
    problems, unchecked = probe_nodes([(node, required)], limit_s=300.0)
    assert [problem.text.partition(":")[0] for problem in problems] == ["versions", "corpus"]
    assert {problem.where for problem in problems} == {f"head node {node.address}"}
    assert unchecked == []


def test_an_unexpected_error_is_a_problem_of_one_line(ray_cluster: None) -> None:
    class Failing(NodeRequirements):
        def checks(self) -> dict[str, Callable[[], str | None]]:
            return {"versions": lambda: str(1 // 0)}

    (node,) = capacity().nodes
    problems, _ = probe_nodes([(node, Failing({}))], limit_s=300.0)
    assert [problem.text for problem in problems] == [
        "cannot be checked: ZeroDivisionError: integer division or modulo by zero"
    ]


@pytest.mark.long(group="jobs")
def test_a_check_without_an_answer_is_named(ray_cluster: None) -> None:
    class Hung(NodeRequirements):
        def checks(self) -> dict[str, Callable[[], str | None]]:
            return {"versions": lambda: None, "storage": lambda: time.sleep(600)}

    (node,) = capacity().nodes
    problems, _ = probe_nodes([(node, Hung({}))], limit_s=30.0)
    assert [(problem.text, problem.permanent) for problem in problems] == [("storage: no answer within 30 s", False)]
