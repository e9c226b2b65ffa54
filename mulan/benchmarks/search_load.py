"""A process that sends searches to a server from several clients at once, and prints the measurements as JSON.

``python -m mulan.benchmarks.search_load ADDRESS REQUESTS CLIENTS``
"""

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import aiohttp

WORDS = (
    ("slow", "fast", "calm", "wild", "dark", "bright", "warm", "cold", "soft", "loud", "lonely", "happy"),
    ("sad", "dreamy", "heavy", "gentle", "tense", "funky", "solemn", "playful", "bitter", "sweet", "raw", "lush"),
    ("jazz", "rock", "folk", "techno", "ambient", "blues", "choral", "latin", "hip hop", "baroque", "metal", "soul"),
    ("with piano", "with drums", "with guitar", "with strings", "with a flute", "with organ", "to dance", "at night"),
)  # fmt: skip
_WARM = 200
"""Number of requests before the measurement begins."""
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass
class LoadReading:
    """The times of requests in milliseconds, in the order in which they were answered."""

    seconds: float = 0.0
    """Time in which all were answered."""
    errors: int = 0
    """Number of requests that were not answered with hits."""
    client_ms: list[float] = field(default_factory=list)
    """Time of each request for the client."""
    server_ms: list[float] = field(default_factory=list)
    """Time of each request in the process that answers it, from its parameters to its answer."""
    model_ms: list[float] = field(default_factory=list)
    """The part of it until the model has embedded the text, together with those of other requests."""


def texts() -> Iterator[str]:
    """Yields different texts, of a few words and a number."""
    for number in itertools.count():
        rest, chosen = number * 9973, []  # a prime number, so that all words change from text to text
        for words in WORDS:
            rest, row = divmod(rest, len(words))
            chosen.append(words[row])
        yield f"{' '.join(chosen)} {number}"


async def _load(address: str, requests: int, clients: int) -> LoadReading:
    reading, queries = LoadReading(), texts()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        await _send(session, address, queries, _WARM, clients, LoadReading())
        begun = time.perf_counter()
        await _send(session, address, queries, requests, clients, reading)
        reading.seconds = time.perf_counter() - begun
    return reading


async def _send(
    session: aiohttp.ClientSession,
    address: str,
    queries: Iterator[str],
    requests: int,
    clients: int,
    reading: LoadReading,
) -> None:
    remaining = iter(range(requests))

    async def client() -> None:
        for _ in remaining:
            begun = time.perf_counter()
            async with session.get(f"{address}/api/search", params={"q": next(queries), "k": "10"}) as response:
                content = await response.json()
            took = 1000 * (time.perf_counter() - begun)
            if response.status != 200 or len(content["hits"]) != 10:
                reading.errors += 1
                continue
            times = {name: float(value) for name, value in _TIMING.findall(response.headers["Server-Timing"])}
            reading.client_ms.append(took)
            reading.server_ms.append(times["total"])
            reading.model_ms.append(times["model"])

    await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))))
