"""Tests interruptions with real signals to this process."""

import os
import signal
import time

import pytest

from mulan.submission.interrupts import Abandoned, interrupts


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request_and_the_second_ends_the_command(number: int, code: int) -> None:
    with interrupts() as received:
        assert not received.stop_requested
        assert received.wait(0)
        os.kill(os.getpid(), number)
        assert received.stop_requested
        assert received.code == code
        begun = time.monotonic()
        assert not received.wait(60)
        assert time.monotonic() - begun < 30
        with pytest.raises(Abandoned):
            os.kill(os.getpid(), number)


def test_the_handlers_of_before_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
