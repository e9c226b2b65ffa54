"""Tests that nodes are checked by tasks."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mulan.launch.capacity import capacity
from mulan.launch.probe import NodeRequirements, versions
from mulan.launch.probing import probe_nodes


def test_a_node_tells_all_that_is_wrong_with_it(ray_cluster: None, tmp_path: Path) -> None:
    (node,) = capacity().nodes
    asked = NodeRequirements(versions() | {"Ray": "0.1"}, corpus_uris=(str(tmp_path / "none"),), free_bytes=1)
    faults, unseen = probe_nodes([(node, asked)], limit_s=300.0)
    assert [fault.text.partition(":")[0] for fault in faults] == ["versions", "corpus"]
    assert {fault.where for fault in faults} == {f"head node {node.address}"}
    assert unseen == []


def test_what_is_raised_there_is_told_in_a_line(ray_cluster: None) -> None:
    class Odd(NodeRequirements):
        def checks(self) -> dict[str, Callable[[], str | None]]:
            return {"versions": lambda: str(1 // 0)}

    (node,) = capacity().nodes
    faults, _ = probe_nodes([(node, Odd({}))], limit_s=300.0)
    assert [fault.text for fault in faults] == [
        "cannot be checked: ZeroDivisionError: integer division or modulo by zero"
    ]


@pytest.mark.long(group="whole")
def test_a_check_without_an_answer_is_told_by_name(ray_cluster: None) -> None:
    class Hung(NodeRequirements):
        def checks(self) -> dict[str, Callable[[], str | None]]:
            return {"versions": lambda: None, "storage": lambda: time.sleep(600)}

    (node,) = capacity().nodes
    faults, _ = probe_nodes([(node, Hung({}))], limit_s=30.0)
    assert [(fault.text, fault.permanent) for fault in faults] == [("storage: no answer within 30 s", False)]
