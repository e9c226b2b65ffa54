"""An application of a small collection, in this process."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from starlette.testclient import TestClient

from mulan.serving.app import create_app
from mulan.serving.service import BatchedCall, Outcome, SearchRequest, SearchService
from mulan.serving.settings import ServerSettings
from tests.serving.collection import HOSTILE, TestCollection, make_collection


def one_at_a_time(function: Callable[[list[SearchRequest]], Awaitable[list[Outcome]]]) -> BatchedCall:
    async def call(request: SearchRequest) -> Outcome:
        (outcome,) = await function([request])
        return outcome

    return call


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> TestCollection:
    ids = [*(f"tone-{number:02d}" for number in range(11)), HOSTILE]
    return make_collection(tmp_path_factory.mktemp("collection"), model_uri, ids=ids)


@pytest.fixture(scope="session")
def client(collection: TestCollection) -> Iterator[TestClient]:
    settings = ServerSettings(index_uri=collection.index_uri, model_uri=collection.model_uri)
    with TestClient(create_app(SearchService(settings, one_at_a_time)), base_url="http://localhost") as opened:
        yield opened
