"""Tests that each long test names a group, and that each group has its turn."""

import ast
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.long_groups import GROUPS, MAX_DUE, RECENT_HOURS, due, recently_changed

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


def test_every_group_has_its_turn_regardless_of_changes() -> None:
    for changed in ([], ["README.md"], ["jobs/train.py", "mulan/model/joint.py", "mulan/training/loop.py"]):
        for hour in HOURS:
            for step, max_calls in ((1, 7), (24, 4), (24 * 7, 4)):  # every hour, every day, every week
                assert {next(iter(due(hour + step * later, changed))) for later in range(max_calls)} == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_due_soon_after_a_change_to_its_paths(group: str) -> None:
    for place in GROUPS[group].paths:
        concerned = {name for name in GROUPS if place in GROUPS[name].paths}
        for hour in HOURS:
            found = due(hour, [f"{place}new.py" if place.endswith("/") else place])
            assert group in found or (len(found) == MAX_DUE and set(found) <= concerned | {next(iter(found))})
        assert any(group in due(hour, [place]) for hour in HOURS[:3])


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("tests/training/test_further_objectives_learn.py", "learning"),
        ("tests/training/test_step_compiled.py", "layouts"),
        ("tests/tune/test_sweep.py", "jobs"),
        ("tests/chaos/test_chaos.py", "chaos"),
    ],
)
def test_a_group_is_due_after_a_change_to_its_tests(file: str, group: str) -> None:
    assert [group in due(hour, [file]) for hour in HOURS] == [True] * len(HOURS)


def test_at_most_two_groups_are_due() -> None:
    everything = [place for group in GROUPS.values() for place in group.paths]
    assert [len(due(hour, everything)) for hour in HOURS] == [MAX_DUE] * len(HOURS)
    assert [len(due(hour, ["README.md", "tests/data/test_audio.py"])) for hour in HOURS] == [1] * len(HOURS)


def test_every_folder_of_code_belongs_to_a_group() -> None:
    folders = {f"mulan/{path.name}/" for path in (ROOT / "mulan").iterdir() if (path / "__init__.py").exists()}
    listed = {place for group in GROUPS.values() for place in group.paths}
    assert folders | {"cluster/", "jobs/", "tune/"} <= listed
    assert [place for place in listed if not (ROOT / place).exists()] == []


def test_the_ci_script_runs_lint_the_fast_tests_and_the_due_ones() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test", "make test-due"]
    assert "set -euo pipefail" in lines


def test_the_hosted_workflow_runs_the_ci_script_on_the_whole_history() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "name" not in step and "run" in step] == [".ci/run"]
    assert [step["with"] for step in steps if step.get("uses", "").startswith("actions/checkout@")] == [
        {"fetch-depth": 0}  # otherwise all files count as recently changed
    ]


def git(folder: Path, *words: str, hours_ago: float = 0.0) -> None:
    date = f"@{time.time() - hours_ago * 3600:.0f} +0000"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True)


def commit(folder: Path, file: str, *, hours_ago: float) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(file)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", file, hours_ago=hours_ago)


@pytest.mark.processes
def test_recent_changes_include_merged_branches_and_renames(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    for file in ("old.py", "mulan/data/moved.py"):
        commit(tmp_path, file, hours_ago=2 * RECENT_HOURS)
    assert recently_changed(tmp_path) == []
    git(tmp_path, "checkout", "-qb", "branch")
    commit(tmp_path, "merged/wärme.py", hours_ago=1.5 * RECENT_HOURS)
    git(tmp_path, "checkout", "-q", "main")
    git(tmp_path, "mv", "mulan/data/moved.py", "moved.py")
    git(tmp_path, "commit", "-qm", "Move", hours_ago=0.5 * RECENT_HOURS)
    git(tmp_path, "merge", "-q", "--no-ff", "--no-edit", "branch")
    assert recently_changed(tmp_path) == ["merged/wärme.py", "moved.py", "mulan/data/moved.py"]


@pytest.mark.processes
def test_without_a_long_history_all_files_are_recent_and_without_any_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        assert recently_changed(tmp_path / "none") == []
    assert "not known: fatal: not a git repository" in capsys.readouterr().err
    git(tmp_path, "init", "-q")
    commit(tmp_path, "only.py", hours_ago=0.0)
    assert recently_changed(tmp_path) == ["only.py"]


def test_make_gives_groups_in_one_word() -> None:
    """In two words, pytest takes "jobs" for the folder of that name, and does not load the plugin with the option."""
    given = [word for word in (ROOT / "Makefile").read_text().split() if word.startswith("--long")]
    assert given == ['--long="$(GROUP)"']
