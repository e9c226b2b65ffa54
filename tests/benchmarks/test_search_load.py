"""The load consists of different texts, and every answer of a real application is measured."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mulan.benchmarks import search_load
from mulan.benchmarks.measure import in_fresh_process
from mulan.benchmarks.search_load import WORDS, LoadReading, texts
from tests.serving.collection import make_collection
from tests.serving.running import serving


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> Iterator[str]:
    ids = [f"tone-{number:02d}" for number in range(12)]
    with serving(make_collection(tmp_path_factory.mktemp("load"), model_uri, ids=ids, seconds=1.0)) as url:
        yield url


def measured(address: str, requests: int, clients: int) -> LoadReading:
    return asyncio.run(search_load._load(address, requests, clients))


def test_all_texts_are_different_and_have_all_words() -> None:
    made = list(itertools.islice(texts(), 20_000))
    assert len(set(made)) == len(made)
    without_numbers = [text.rpartition(" ")[0] for text in made[:3456]]
    assert len(set(without_numbers)) > 3000  # hardly any phrase is repeated before all have been used
    assert all(word in " ".join(without_numbers) for word in itertools.chain(*WORDS))


@pytest.mark.parametrize("clients", [1, 5])
def test_every_request_is_answered_and_measured(address: str, monkeypatch: pytest.MonkeyPatch, clients: int) -> None:
    monkeypatch.setattr(search_load, "_WARM", 3)
    reading = measured(address, 40, clients)
    assert reading.errors == 0
    assert [len(times) for times in (reading.client_ms, reading.server_ms, reading.model_ms)] == [40, 40, 40]
    client, server, model = (np.array(times) for times in (reading.client_ms, reading.server_ms, reading.model_ms))
    assert np.all((model > 0) & (model <= server) & (server <= client))
    # all times of a client follow each other, and those of different ones overlap
    assert max(client.max(), client.sum() / clients) <= 1000 * reading.seconds


def test_answers_without_ten_hits_are_errors(tmp_path: Path, model_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_load, "_WARM", 1)
    small = make_collection(tmp_path, model_uri, ids=["a", "b"], seconds=1.0)
    with serving(small) as url:
        reading = measured(url, 6, 2)
    assert (reading.errors, reading.client_ms) == (6, [])


@pytest.mark.processes
def test_the_process_prints_the_measurements(address: str) -> None:
    output = in_fresh_process("mulan.benchmarks.search_load", [address, "25", "4"], timeout_s=120)
    reading = LoadReading(**json.loads(output))
    assert (reading.errors, len(reading.client_ms)) == (0, 25)
