"""Tests that placement groups of dead trials are released, even if the cluster does not answer for a while."""

import threading

import pytest

from tests.waiting import wait_until
from tune import room
from tune.room import release_reservations


def test_orphaned_groups_are_removed_periodically(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def remove_orphaned_placement_groups() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise ConnectionError("the head does not answer")

    monkeypatch.setattr(room, "POLL_PERIOD_S", 0.001)
    monkeypatch.setattr(room, "remove_orphaned_placement_groups", remove_orphaned_placement_groups)
    before = threading.active_count()
    with release_reservations():
        wait_until(lambda: len(calls) > 3, what="another poll")
    assert threading.active_count() == before
