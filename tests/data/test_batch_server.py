"""Tests the batch server with a fake of Ray Data; test_planned_batches.py tests it with workers."""

from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest

from mulan.data import batch_server
from mulan.data.batch_server import BatchServer, GroupResult, UnknownAttempt
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("cpus", "reader_limit", "used"),
    [(3, None, 4), (3, 8, 4), (3, 2, 2), (3, 0, 1), (1, None, 1), (2, None, 3), (16, None, 24), (64, 80, 80)],
)
def test_three_readers_share_two_cpus_up_to_the_limit_of_an_execution(
    cpus: int, reader_limit: int | None, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: Queue[int] = Queue()

    def execute(_: Any, segment: range, *__: Any, readers: int, **___: Any) -> Iterator[int]:
        given.put(readers)
        return iter(segment)

    monkeypatch.setattr(batch_server, "execute", execute)
    server = BatchServer(cpus, lambda: reader_limit, {}, segment_groups=1)
    server.begin("attempt", range(1), [None], [None])
    assert given.get(timeout=30) == used


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> tuple[BatchServer, Queue[Any]]:
    """A server of four groups of an attempt, and the queue of the blocks that Ray Data would produce."""
    blocks: Queue[Any] = Queue()

    def execute(_: Any, segment: range, *__: Any, **___: Any) -> Iterator[Any]:
        return (blocks.get(timeout=30) for _ in segment)

    monkeypatch.setattr(batch_server, "execute", execute)
    monkeypatch.setattr(batch_server, "_MAX_CALL_S", 0.2)
    serving = BatchServer(3, lambda: None, {}, segment_groups=4)
    assert serving.begin("attempt", range(4), [None], None)
    return serving, blocks


def test_each_group_is_served_once_to_any_caller(server: tuple[BatchServer, Queue[Any]]) -> None:
    serving, blocks = server
    for block in "abcd":
        blocks.put(block)
    assert [serving.take("attempt", number) for number in (1, 0, 3, 2)] == [GroupResult([one]) for one in "badc"]
    assert serving.take("attempt", 1) == GroupResult([])
    with pytest.raises(UnknownAttempt):
        serving.take("another", 1)


def test_a_skipped_group_is_not_read_unless_a_reader_has_begun_it(
    server: tuple[BatchServer, Queue[Any]],
) -> None:
    serving, blocks = server
    assert serving.begin_group("attempt", 0, "process", "node")
    for number in (0, 1):
        serving.skip_group("attempt", number, 0)
    assert not serving.begin_group("attempt", 1, "process", "node")
    assert serving.take("attempt", 1) == GroupResult([], unwanted=True)
    for block in "ab":
        blocks.put(block)
    assert serving.take("attempt", 0) == GroupResult(["a"])
    serving.take("attempt", 2)  # so that the second block is taken off Ray Data
    wait_until(lambda: not serving._unwanted, what="that nothing is kept of what has come and was left out")
    assert not serving._blocks
    assert not serving.begin_group("another", 3, "process", "node")


def test_an_attempt_does_not_begin_while_another_waits_for_cpus(server: tuple[BatchServer, Queue[Any]]) -> None:
    serving, blocks = server
    assert not serving.begin("second", range(4), [None], None)
    blocks.put("a")  # its reading ends with the next block
    wait_until(lambda: serving.begin("third", range(4), [None], None), what="the end of the first attempt")
    blocks.put("b")
    assert serving.take("third", 0) == GroupResult(["b"])
