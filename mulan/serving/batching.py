"""Calls that are batched: those that arrive while a batch is computed make up the next one.

Nothing waits for others while there is nothing to compute, so that a single caller loses no time, and the more callers
there are, the larger the batches. ``ray.serve.batch`` closes a batch before the previous one is finished, so that its
batches stay small however many callers wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Makes a function of one item from one of many, which is called in a thread. It belongs to one event loop."""

    def __init__(self, function: Callable[[list[T]], list[R]], *, max_size: int) -> None:
        """
        Args:
            function: Returns a result for each item, in their order. It is not called twice at the same time.
            max_size: Maximum number of items of a batch.
        """
        self._function, self._max_size = function, max_size
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """Returns the result of an item; an error of the function is raised for all items of its batch."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._max_size, len(self._waiting)))]
            batch = [(item, result) for item, result in batch if not result.done()]  # the others were cancelled
            if not batch:
                continue
            try:
                results = await asyncio.to_thread(self._function, [item for item, _ in batch])
            except Exception as error:
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), value in zip(batch, results, strict=True):
                if not result.done():
                    result.set_result(value)
