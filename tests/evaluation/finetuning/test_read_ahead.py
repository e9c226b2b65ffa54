"""Tests that items come in order, however long they take, and that threads end."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from mulan.evaluation.finetuning.read_ahead import read_ahead


def counted(first: int, count: int, pause_s: float = 0.0) -> Iterator[int]:
    for number in range(first, first + count):
        time.sleep(pause_s)
        yield number


@pytest.mark.parametrize("threads", [1, 3])
def test_items_come_in_order(threads: int) -> None:
    sources: list[Callable[[], Iterator[int]]] = [
        partial(counted, 0, 3, 0.02),  # slower than those after it
        partial(counted, 3, 0),
        partial(counted, 3, 4),
        partial(counted, 7, 1, 0.01),
    ]
    assert list(read_ahead(sources, threads=threads)) == list(range(8))
    assert list(read_ahead(iter(()), threads=threads)) == []


def test_threads_are_at_most_two_items_ahead() -> None:
    made: list[int] = []

    def remembered() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    items = read_ahead([remembered], threads=2)
    for taken in range(1, 10):
        assert next(items) == taken - 1
        time.sleep(0.01)
        assert len(made) <= taken + 2
    items.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_the_items_before_it_and_ends_all_threads() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    items = read_ahead([failing, partial(counted, 0, 1_000_000)], threads=2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)
    assert not [each for each in threading.enumerate() if each.name.startswith("read-ahead")]


def test_closing_ends_threads_that_wait() -> None:
    items = read_ahead([partial(counted, 0, 1_000_000)] * 3, threads=3)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("read-ahead")]
