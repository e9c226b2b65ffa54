"""Reading ahead in threads, in a fixed order and with bounded memory."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_STOP_PERIOD_S = 0.1
"""How often a thread whose item nobody takes looks whether to stop."""


def read_ahead(sources: Iterable[Callable[[], Iterator[T]]], *, threads: int) -> Iterator[T]:
    """Yields the items of several iterators, one iterator after another, while threads compute the next items.

    Each thread runs one iterator and is at most two items ahead, so that ``2 * threads`` items wait in memory. Threads
    end when the result is closed, or after an error.

    Args:
        sources: Functions that return the iterators; each is called in a thread.
        threads: Number of iterators that run at once.

    Raises:
        Exception: An iterator raises it; after the items before it.
    """
    stopped = threading.Event()
    waiting: deque[_Items[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as pool:
        try:
            for source in sources:
                items: _Items[T] = _Items(queue.Queue(maxsize=1), stopped)
                pool.submit(items.fill, source)
                waiting.append(items)
                if len(waiting) == threads:
                    yield from waiting.popleft().drained()
            while waiting:
                yield from waiting.popleft().drained()
        finally:
            stopped.set()


@dataclass(frozen=True, eq=False)
class _Items(Generic[T]):
    """The items of one iterator, of which one waits in a queue; an error or None ends them."""

    queue: "queue.Queue[tuple[T] | BaseException | None]"
    stopped: threading.Event

    def fill(self, source: Callable[[], Iterator[T]]) -> None:
        """Puts all items into the queue; the thread runs it."""
        try:
            for item in source():
                self._put((item,))
                if self.stopped.is_set():
                    return
            self._put(None)
        except BaseException as error:  # the consumer raises it
            self._put(error)

    def drained(self) -> Iterator[T]:
        """Yields all items."""
        while (item := self.queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def _put(self, item: tuple[T] | BaseException | None) -> None:
        while not self.stopped.is_set():
            try:
                self.queue.put(item, timeout=_STOP_PERIOD_S)
                return
            except queue.Full:
                continue
