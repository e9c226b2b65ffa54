"""Tests the bounded sample of a run's lines."""

from itertools import pairwise

from mulan.monitoring.line_sample import LineSample


def test_few_lines_are_kept_and_repeated_steps_replace_those_before() -> None:
    sample = LineSample(100)
    sample.add([{"step": step, "attempt": 1} for step in range(1, 41)])
    sample.add([{"step": step, "attempt": 2} for step in range(31, 51)] + [{"no": "step"}])
    assert [line["step"] for line in sample.lines] == list(range(1, 51))
    assert [line["step"] for line in sample.lines if line["attempt"] == 1] == list(range(1, 31))


def test_a_line_without_a_step_that_a_run_has_changes_nothing() -> None:
    sample = LineSample(100)
    sample.add([{"step": 1}, {"step": 2}, {"step": -100_000}, {"step": 10**400}, {"step": True}, {"step": 3}])
    assert [line["step"] for line in sample.lines] == [1, 2, 3]


def test_many_lines_are_thinned_evenly_and_validations_are_kept_longer() -> None:
    sample = LineSample(100)
    for step in range(1, 10_001):
        sample.add([{"step": step} | ({"validation": {}} if step % 250 == 0 else {})])
        assert len(sample.lines) <= 100
    steps = [line["step"] for line in sample.lines]
    assert steps == sorted(set(steps)) and steps[0] <= 256 and steps[-1] > 9700
    assert max(b - a for a, b in pairwise(steps)) <= 256
    assert set(range(250, 10_001, 250)) <= set(steps)


def test_a_bound_holds_if_every_step_is_validated() -> None:
    sample = LineSample(100)
    sample.add([{"step": step, "validation": {}} for step in range(1, 5001)])
    assert 25 <= len(sample.lines) <= 100
