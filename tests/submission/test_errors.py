"""Tests the messages of refused submissions."""

from mulan.submission.errors import SubmissionError


def test_one_fault_is_the_message() -> None:
    assert str(SubmissionError(["--to x: is wrong"])) == "--to x: is wrong"


def test_many_faults_are_counted_and_the_first_listed() -> None:
    message = str(SubmissionError([f"fault {number}" for number in range(25)]))
    assert message.startswith("25 faults:\n  - fault 0\n")
    assert "fault 19\n  and 5 more" in message
    assert "fault 20" not in message


def test_names_from_outside_do_not_reach_the_terminal_as_they_are() -> None:
    assert str(SubmissionError(["a\x1b[2Jb\nc"])) == r"a\x1b[2Jb\nc"
