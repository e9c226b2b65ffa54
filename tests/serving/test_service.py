"""A service answers many requests at once as it answers each alone, and survives what happens to its files."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from mulan.search.building import delete_from_index
from mulan.search.overview import Overview
from mulan.search.query import Filter
from mulan.serving.service import Answer, NotReady, SearchRequest, SearchService
from mulan.serving.settings import ServerSettings
from tests.serving.collection import TestCollection, make_collection
from tests.serving.running import service_of


def opened(collection: TestCollection) -> SearchService:
    service = service_of(collection)
    service.refresh()
    return service


def ids_of(outcome: Answer | BaseException) -> list[str]:
    assert isinstance(outcome, Answer)
    return [found.row.recording_id for found in outcome.found]


def test_requests_are_answered_together_as_alone(collection: TestCollection) -> None:
    service = opened(collection)
    requests = [
        SearchRequest(("piano", "slow sad piano"), hits=5),
        SearchRequest(("piano",), ("drums",), hits=12),
        SearchRequest(like=("no such recording",)),
        SearchRequest(),
        SearchRequest(like=("tone-03",), filter=Filter(("genre:low",)), hits=12),
        SearchRequest(filter=Filter(("genre:high",)), hits=12),
        SearchRequest(sound=np.zeros((2, 8000), np.int16), hits=3),
    ]

    async def answered(wanted: list[SearchRequest]) -> list[Answer | BaseException]:
        return list(await asyncio.gather(*map(service.search, wanted), return_exceptions=True))

    together = asyncio.run(answered(requests))
    for request, outcome in zip(requests, together, strict=True):
        (alone,) = asyncio.run(answered([request]))
        if isinstance(outcome, Answer):
            assert ids_of(alone) == ids_of(outcome)
        else:
            assert str(alone) == str(outcome)
    assert [type(each).__name__ for each in together[2:4]] == ["UnknownRecording", "UnusableQuery"]
    assert ids_of(together[5]) == sorted(ids_of(together[5]))  # equally good
    assert len(ids_of(together[5])) == 6


@pytest.fixture
def own(tmp_path: Path, model_uri: str) -> TestCollection:
    copy = shutil.copytree(model_uri, tmp_path / "model")
    return make_collection(tmp_path, str(copy), ids=["a", "b", "c"], seconds=1.0)


def search(service: SearchService) -> list[str]:
    return ids_of(asyncio.run(service.search(SearchRequest(("x",)))))


def test_a_changed_index_is_opened_again(own: TestCollection) -> None:
    service = opened(own)
    assert sorted(search(service)) == ["a", "b", "c"]
    before = service.opened
    service.refresh()
    assert service.opened is before
    delete_from_index(own.index_uri, ["b"])
    service.refresh()
    assert sorted(search(service)) == ["a", "c"]
    assert service.opened.model is before.model
    assert service.opened.overview.recordings == 2


def test_an_overview_that_is_written_after_the_index_has_changed_is_read(own: TestCollection) -> None:
    service = opened(own)
    old = Overview.read(own.index_uri)
    delete_from_index(own.index_uri, ["b"])
    new = Overview.read(own.index_uri)
    old.write(own.index_uri)
    service.refresh()
    assert (sorted(search(service)), service.opened.overview) == (["a", "c"], old)
    new.write(own.index_uri)
    service.refresh()
    assert service.opened.overview == new


def test_a_fault_of_a_library_does_not_end_the_looks_for_newer_versions(
    own: TestCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, outcomes = opened(own), iter([KeyError("details"), asyncio.CancelledError()])

    def refresh() -> None:
        raise next(outcomes)

    monkeypatch.setattr(service, "refresh", refresh)
    monkeypatch.setattr("mulan.serving.service.CHECK_S", 0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(service.keep_fresh())


def test_searches_are_answered_when_model_and_index_are_gone(own: TestCollection) -> None:
    service = opened(own)
    shutil.rmtree(own.model_uri)
    (Path(own.index_uri) / "index.json").unlink()
    service.refresh()
    assert sorted(search(service)) == ["a", "b", "c"]


def test_an_index_of_another_model_is_not_searched(own: TestCollection) -> None:
    service = opened(own)
    manifest = Path(own.index_uri) / "index.json"
    original = manifest.read_text()
    manifest.write_text(original.replace(service.opened.index.manifest.model.sha256, "cd" * 32))
    service.refresh()
    with pytest.raises(NotReady, match="which cannot be compared with those of"):
        search(service)
    manifest.write_text(original)
    service.refresh()
    assert sorted(search(service)) == ["a", "b", "c"]


@pytest.mark.parametrize("missing", ["model", "index"])
def test_what_is_missing_at_the_start_is_said_and_awaited(own: TestCollection, tmp_path: Path, missing: str) -> None:
    (tmp_path / missing).rename(tmp_path / "away")
    service = opened(own)
    with pytest.raises(NotReady, match=str(tmp_path / missing)):
        search(service)
    (tmp_path / "away").rename(tmp_path / missing)
    service.refresh()
    assert sorted(search(service)) == ["a", "b", "c"]


def test_a_service_that_has_not_opened_anything_says_so(own: TestCollection) -> None:
    service = SearchService(ServerSettings(index_uri=own.index_uri, model=own.model_uri))
    with pytest.raises(NotReady, match="the server is starting"):
        search(service)
