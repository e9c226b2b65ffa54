"""Tests which ranges of steps can be profiled."""

import pytest

from mulan.instrumentation.settings import ProfileRefused, StepRange


def test_a_range_is_parsed_and_printed_in_the_same_form() -> None:
    assert StepRange.parse("20:22") == StepRange(20, 22)
    assert str(StepRange.parse("7:7")) == "7:7"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20", "not of the form A:B"),
        ("20-22", "not of the form A:B"),
        ("-1:2", "not of the form A:B"),
        ("1:2:3", "not of the form A:B"),
        ("\u0661:\u0662", "not of the form A:B"),
        ("9" * 5000 + ":1", "not of the form A:B"),
        ("0:2", "1 <= A <= B"),
        ("9:8", "1 <= A <= B"),
        ("1:11", "11 steps; at most 10"),
    ],
)
def test_other_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StepRange.parse(text)


def test_the_part_after_a_checkpoint_is_left() -> None:
    wanted = StepRange(20, 22)
    left = [wanted.after(steps_done) for steps_done in (0, 19, 20, 21, 22, 100)]
    assert left == [wanted, wanted, StepRange(21, 22), StepRange(22, 22), None, None]


def test_a_run_must_still_train_one_of_the_steps() -> None:
    wanted = StepRange(20, 22)
    wanted.check(run_uri="runs/x", steps=22, steps_done=21)
    with pytest.raises(ProfileRefused, match=r"20:22: the last step is 21 \(train.steps\)"):
        wanted.check(run_uri="runs/x", steps=21, steps_done=0)
    with pytest.raises(ProfileRefused, match="run runs/x continues from its checkpoint of step 22; give later steps"):
        wanted.check(run_uri="runs/x", steps=30, steps_done=22)
