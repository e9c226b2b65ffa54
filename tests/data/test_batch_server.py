"""What the batch server asks of Ray Data; see also test_planned_batches.py, where it is asked by workers."""

from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest

from mulan.data import batch_server
from mulan.data.batch_server import BatchServer


@pytest.mark.parametrize(("room_ever", "used"), [(None, 3), (8, 3), (2, 2), (0, 1)])
def test_no_more_cpus_are_used_than_there_can_ever_be(
    room_ever: int | None, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: Queue[int] = Queue()

    def execute(_: Any, segment: range, *__: Any, cpus: int, **___: Any) -> Iterator[int]:
        given.put(cpus)
        return iter(segment)

    monkeypatch.setattr(batch_server, "execute", execute)
    server = BatchServer(3, lambda: room_ever, {}, segment_groups=1)
    server.begin("attempt", range(1), [None], [None])
    assert given.get(timeout=30) == used
