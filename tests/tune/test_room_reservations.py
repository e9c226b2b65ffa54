"""Tests that placement groups of dead trials are released, even if the cluster does not answer for a while."""

import threading

import pytest

from tests.waiting import wait_until
from tune import room
from tune.room import release_reservations


def test_what_is_left_behind_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def remove_orphaned_placement_groups() -> None:
        looked.append(None)
        if len(looked) == 2:
            raise ConnectionError("the head is away")

    monkeypatch.setattr(room, "POLL_PERIOD_S", 0.001)
    monkeypatch.setattr(room, "remove_orphaned_placement_groups", remove_orphaned_placement_groups)
    before = threading.active_count()
    with release_reservations():
        wait_until(lambda: len(looked) > 3, what="another look")
    assert threading.active_count() == before
