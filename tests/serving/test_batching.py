"""Calls are answered in batches of those that came meanwhile, each with its own result."""

import asyncio
import threading

import pytest

from mulan.serving.batching import Batches


def test_calls_that_arrive_during_a_batch_are_the_next_one() -> None:
    sizes: list[int] = []
    first_has_begun, others_are_there = threading.Event(), threading.Event()

    def doubled(items: list[int]) -> list[int]:
        sizes.append(len(items))
        first_has_begun.set()
        assert others_are_there.wait(10)
        return [2 * item for item in items]

    async def call_all() -> list[int]:
        batches = Batches(doubled, max_size=4)
        first = asyncio.create_task(batches(0))
        await asyncio.to_thread(first_has_begun.wait, 10)
        others = [asyncio.create_task(batches(number)) for number in range(1, 8)]
        await asyncio.sleep(0)
        others_are_there.set()
        return list(await asyncio.gather(first, *others))

    assert asyncio.run(call_all()) == [2 * number for number in range(8)]
    assert sizes == [1, 4, 3]


def test_an_error_is_raised_for_its_batch_only() -> None:
    def checked(items: list[int]) -> list[int]:
        if -1 in items:
            raise ValueError("a negative number")
        return items

    async def call_all() -> list[object]:
        batches = Batches(checked, max_size=1)
        return list(await asyncio.gather(*(batches(item) for item in (1, -1, 2)), return_exceptions=True))

    first, error, last = asyncio.run(call_all())
    assert (first, last) == (1, 2)
    assert isinstance(error, ValueError)


def test_a_caller_that_has_gone_is_not_computed_for() -> None:
    seen: list[int] = []

    async def call_all() -> int:
        batches = Batches(lambda items: seen.extend(items) or items, max_size=2)
        gone = asyncio.create_task(batches(1))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await batches(2)

    assert asyncio.run(call_all()) == 2
    assert seen == [2]
