"""Tests which outcomes are retried, and how often."""

import pytest

from mulan.submission.attempts import AttemptOutcome, exit_code, run_attempts


def run(*codes: int, retries: int = 3, interrupted: bool = False) -> tuple[int, int, list[str]]:
    """Returns the exit code, the number of attempts, and the printed lines."""
    attempts: list[int] = []
    said: list[str] = []

    def attempt(number: int) -> AttemptOutcome:
        attempts.append(number)
        return AttemptOutcome(codes[number])

    code = run_attempts(attempt, retries=retries, pause=lambda: not interrupted, say=said.append)
    assert attempts == list(range(len(attempts)))
    return code, len(attempts), said


@pytest.mark.parametrize("code", [0, 2, 3, 130, 137, 143])
def test_what_would_fail_again_or_was_wanted_is_not_retried(code: int) -> None:
    assert run(code)[:2] == (code, 1)


def test_a_failed_machine_is_retried_until_the_job_ends_otherwise() -> None:
    assert run(1, 1, 0)[:2] == (0, 3)
    assert run(1, 2)[:2] == (2, 2)


def test_retries_are_limited() -> None:
    code, attempts, said = run(1, 1, 1, retries=2)
    assert (code, attempts) == (1, 3)
    assert said[-1] == "the job ended with exit code 1; no retry is left (--retries 2)"
    assert run(1, retries=0)[:2] == (1, 1)


def test_an_interruption_during_the_pause_ends_the_attempts() -> None:
    assert run(1, 0, interrupted=True)[:2] == (1, 1)


@pytest.mark.parametrize(("returned", "code"), [(0, 0), (2, 2), (-9, 137), (-15, 143)])
def test_signals_count_from_128(returned: int, code: int) -> None:
    assert exit_code(returned) == code
