"""Tests that misspelt modules of mulan are refused, and that modules of others may exist on the cluster."""

import re
from pathlib import Path

import pytest

from mulan.submission.command import CHECKED_JOBS, Command
from mulan.submission.errors import SubmissionError
from mulan.submission.modules import check_module, fault_of_module


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            "python -m jobs.trian --recipe demo",
            "python -m jobs.trian: mulan has no such command; did you mean jobs.train?",
        ),
        ("python3 -m tune.swep", "did you mean tune.sweep?"),
        ("python -m jobs.train.py", "did you mean jobs.train?"),
        ("python -m jobs.train. x", "did you mean jobs.train?"),
        ("python -m jobs.train-x x", "did you mean jobs.train?"),
        (f"python -m jobs.{'x' * 300}", "the commands are jobs.ablate,"),
        ("python -m jobs", "the commands are jobs.ablate, jobs.attempt,"),
        ("python -m mulan.zzzzzzz", "the commands are jobs.ablate,"),
        ("jobs.train --recipe demo", "jobs.train is a module, not a program: did you mean python -m jobs.train?"),
        ("jobs.trian --recipe demo", "did you mean python -m jobs.train?"),
        ("python jobs.train", "did you mean python -m jobs.train?"),
        ("-m tune.sweep", "did you mean python -m tune.sweep?"),
    ],
)
def test_misspelt_modules_of_mulan_are_refused_with_a_similar_one(words: str, fault: str) -> None:
    with pytest.raises(SubmissionError, match=re.escape(fault)):
        check_module(Command(tuple(words.split())), None)


@pytest.mark.parametrize(
    "words",
    [
        *(f"python -m {module} --name x" for module in sorted(CHECKED_JOBS)),
        *("python -m mulan.benchmarks.loss", "python -m mine.train", "python -m jobsy", "python mine.py", "jobs"),
    ],
)
def test_commands_of_mulan_and_of_others_are_accepted(words: str) -> None:
    check_module(Command(tuple(words.split())), None)


def test_modules_of_the_working_folder_precede_those_of_mulan(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.py").touch()
    for module in ("jobs.mine", "jobs.train"):
        check_module(Command(("python", "-m", module)), tmp_path)
    (tmp_path / "jobs" / "__init__.py").touch()  # now Python looks for its modules only here
    check_module(Command(("python", "-m", "jobs.mine")), tmp_path)
    with pytest.raises(SubmissionError, match=r"python -m jobs\.train: "):
        check_module(Command(("python", "-m", "jobs.train")), tmp_path)


def test_a_program_of_the_working_folder_may_have_the_name_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "jobs.train").touch()
    check_module(Command(("jobs.train",)), tmp_path)


def test_modules_that_python_does_not_find_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"mine_whole": "", "mine_half": "", "mine_half/lacks": "import nowhere_at_all", "mine_half/fails": "1 / 0"}
    for folder, text in texts.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(text)
    (tmp_path / "mine_whole" / "__main__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    faults = {
        "jobs.train": "",
        "jobs.trian": "No module named jobs.trian",
        "nowhere.train": "No module named nowhere.train",
        "mine_whole": "",
        "mine_half": "No module named mine_half.__main__",
        "mine_half.lacks.x": "",  # the job itself says what is missing
        "mine_half.fails.x": "",
        "": "'' is not the name of a module",
        "..x": "'..x' is not the name of a module",
    }
    assert {name: fault_of_module(name) for name in faults} == faults
