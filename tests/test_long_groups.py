"""Long tests stand aside, and none is forgotten: each names a group, and each group has its turn."""

import ast
from pathlib import Path

import pytest

from tests.long_groups import GROUPS, MOST_DUE, due

ROOT = Path(__file__).parents[1]
HOURS = range(24 * 100, 24 * 103)


def test_every_long_mark_names_a_group_and_every_group_has_tests() -> None:
    marks, groups = 0, []
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.long":
                marks += 1
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.long":
                assert [word.arg for word in node.keywords] == ["group"] and not node.args, file
                groups.append(ast.literal_eval(node.keywords[0].value))
    assert len(groups) == marks
    assert set(groups) == set(GROUPS)


def test_every_group_has_its_turn_whatever_was_changed() -> None:
    for changed in ([], ["README.md"], ["jobs/train.py", "mulan/model/joint.py", "mulan/training/loop.py"]):
        for hour in HOURS:
            for step, most in ((1, 5), (24, 3), (24 * 7, 3)):  # every hour, every day, every week
                assert {next(iter(due(hour + step * later, changed))) for later in range(most)} == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_whose_folders_have_changed_is_due_at_any_hour(group: str) -> None:
    for folder in GROUPS[group].folders:
        for hour in HOURS:
            assert group in due(hour, [f"{folder}new.py"])


def test_no_more_than_two_groups_are_due_at_once() -> None:
    everything = [folder for group in GROUPS.values() for folder in group.folders]
    assert [len(due(hour, everything)) for hour in HOURS] == [MOST_DUE] * len(HOURS)
    assert [len(due(hour, ["README.md", "tests/data/test_audio.py"])) for hour in HOURS] == [1] * len(HOURS)


def test_every_folder_of_code_belongs_to_a_group() -> None:
    folders = {f"mulan/{path.name}/" for path in (ROOT / "mulan").iterdir() if (path / "__init__.py").exists()}
    folders |= {"cluster/", "jobs/", "tune/"}
    listed = [folder for group in GROUPS.values() for folder in group.folders]
    assert folders <= set(listed)
    assert len(listed) == len(set(listed))
    assert [path for path in listed if not (ROOT / path).exists()] == []


def test_the_gate_is_style_the_fast_tests_and_the_long_ones_that_are_due() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test", "make test-due"]
    assert "set -euo pipefail" in lines
