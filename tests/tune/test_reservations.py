"""What trials leave reserved is given back while others run, though the cluster may not answer for a while."""

import threading

import pytest

from tests.waiting import wait_until
from tune import reservations
from tune.reservations import given_back


def test_what_is_left_behind_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[list[str] | Exception] = [["a", "b"], ConnectionError("the head is away"), [], ["c"]]
    removed = []

    def left_behind() -> list[str]:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(reservations, "LOOK_PERIOD_S", 0.001)
    monkeypatch.setattr(reservations, "left_behind", left_behind)
    monkeypatch.setattr(reservations, "remove_placement_group", removed.append)
    before = threading.active_count()
    with given_back():
        wait_until(lambda: len(removed) == 3, what="three removals")
    assert removed == ["a", "b", "c"]
    assert threading.active_count() == before
