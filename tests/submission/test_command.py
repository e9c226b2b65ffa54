"""Tests the submitted command: its words in a shell, its name, its check, its files and its variables."""

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulan.submission.command import CHECKED_JOBS, Command, parsed_command, parsed_variables
from mulan.submission.errors import SubmissionError
from tests.test_architecture import ROOT

TRAIN = ("python", "-m", "jobs.train", "--recipe", "demo", "--name", "run1")


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])), min_size=1))
def test_words_reach_the_program_unchanged(words: list[str]) -> None:
    exec_, *parsed = shlex.split(Command(tuple(words)).entrypoint(check_first=False))
    assert (exec_, parsed) == ("exec", words)


def test_the_check_runs_first_and_ends_the_job_if_it_fails() -> None:
    check, run = Command(TRAIN).entrypoint(check_first=True).split(" && ")
    assert check == f"{' '.join(TRAIN)} --dry-run > /dev/null"
    assert run == f"exec {' '.join(TRAIN)}"


@pytest.mark.parametrize(
    ("words", "name"), [(TRAIN, "run1"), (("python", "-m", "jobs.train", "--name=run=2", "--name", "x"), "run=2")]
)
def test_jobs_are_named_after_their_run(words: tuple[str, ...], name: str) -> None:
    assert Command(words).name == name


def test_the_subject_tells_runs_of_one_name_apart() -> None:
    words = ("python", "-m", "jobs.train", "--name", "run1", "--storage=s3://a")
    assert Command(words).subject == {"module": "jobs.train", "storage": "s3://a", "run": "run1"}
    other = Command(("./train", "--storage"))
    assert other.subject == {"module": "", "storage": "", "run": other.name}


@pytest.mark.parametrize(
    ("words", "beginning"),
    [(("python3.12", "-m", "jobs.prepare", "--name"), "prepare-"), (("/bin/echo", "--named", "x"), "echo-")],
)
def test_jobs_without_a_run_are_named_after_their_command(words: tuple[str, ...], beginning: str) -> None:
    name = Command(words).name
    assert re.fullmatch(rf"{beginning}[0-9a-f]{{8}}", name)
    assert Command(words).name == name
    assert Command((*words, "")).name != name


def test_only_jobs_that_can_check_their_request_are_checked() -> None:
    assert Command(TRAIN).can_be_checked
    assert not Command((*TRAIN, "--dry-run")).can_be_checked
    assert not Command((*TRAIN, "--help")).can_be_checked
    assert not Command(("python", "-m", "jobs.describe", "corpus")).can_be_checked
    assert not Command(("python", "train.py")).can_be_checked


@pytest.mark.parametrize("module", sorted(CHECKED_JOBS))
def test_checked_jobs_have_a_dry_run(module: str) -> None:
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert '"--dry-run"' in source or "arguments.add_recipe(" in source


def test_named_files_are_those_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    for name in ("my recipe.toml", "space.toml"):
        (tmp_path / "recipes" / name).touch()
    (tmp_path / "outside.toml").touch()
    (tmp_path / "recipes" / "corpus").mkdir()
    words = [
        *("python", "-m", "jobs.train", "--recipe", "my recipe.toml", "--space=./space.toml", "--data", "corpus"),
        *("--long", "x" * 300, "--many=" + "x/" * 3000),
        *("--other", "../outside.toml", "--absolute", str(tmp_path / "outside.toml"), "s3://space.toml", ".", "demo"),
    ]
    files, folders = Command(tuple(words)).named_files(tmp_path / "recipes")
    assert files == [Path("my recipe.toml"), Path("space.toml")]
    assert folders == [Path("corpus")]


def test_a_command_is_required_and_may_contain_dashes() -> None:
    assert parsed_command(["--", "sh", "-c", "x", "--"]).words == ("sh", "-c", "x", "--")
    for nothing in ([], ["--"]):
        with pytest.raises(SubmissionError, match="no command is given"):
            parsed_command(nothing)


def test_credentials_in_a_command_are_refused_and_not_repeated() -> None:
    with pytest.raises(SubmissionError) as refused:
        parsed_command(["python", "-m", "jobs.train", "--data", "s3://KEY:hunter2@bucket/corpus"])
    assert "hunter2" not in str(refused.value)


def test_variables_have_their_value_or_that_of_this_environment() -> None:
    assert parsed_variables(["A=1=2", "B", "C="], {"B": "here"}) == {"A": "1=2", "B": "here", "C": ""}


def test_all_faults_of_variables_are_listed_without_values() -> None:
    with pytest.raises(SubmissionError) as refused:
        parsed_variables(["1A=hunter2", "MISSING", "RAY_ADDRESS=hunter2", "GOOD=hunter2"], {})
    assert len(refused.value.faults) == 3
    assert "hunter2" not in str(refused.value)
