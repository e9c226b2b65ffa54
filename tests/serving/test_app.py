"""The application answers every fault with its reason: as JSON, or on the paths of the page as HTML."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from mulan.serving.app import create_app
from mulan.serving.security import HEADERS
from mulan.serving.service import SearchService
from mulan.serving.settings import ServerSettings
from tests.serving.collection import TestCollection, make_collection
from tests.serving.running import service_of

ROUTES_OF_THE_INDEX = [
    "/api/search?q=x", "/api/recordings/tone-00", "/api/collection", "/api/map", "/audio/tone-00",
]  # fmt: skip


@pytest.fixture(scope="module")
def unopened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    """Yields an application whose index does not exist, and the folder where it should be."""
    folder = str(tmp_path_factory.mktemp("none"))
    settings = ServerSettings(index_uri=folder, model=folder)
    with TestClient(create_app(SearchService(settings)), base_url="http://localhost") as client:
        yield client, folder


@pytest.mark.parametrize("path", ROUTES_OF_THE_INDEX)
def test_without_an_index_the_api_says_why(unopened: tuple[TestClient, str], path: str) -> None:
    client, folder = unopened
    response = client.get(path)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"]
    assert folder in response.json()["detail"]
    assert "jobs.index" in response.json()["detail"]


def test_whether_it_is_ready_is_answered_without_naming_folders(unopened: tuple[TestClient, str]) -> None:
    response = unopened[0].get("/healthz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json() == {"detail": "searches are not answered at the moment; a search says why"}


@pytest.mark.parametrize("path", ["/", "/?q=x", "/results?q=x", "/results"])
def test_without_an_index_the_page_says_why(unopened: tuple[TestClient, str], path: str) -> None:
    client, folder = unopened
    response = client.get(path)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "The search failed" in response.text
    assert folder in response.text


def test_a_sound_is_refused_without_an_index(unopened: tuple[TestClient, str]) -> None:
    client, folder = unopened
    for path in ("/api/search", "/results"):
        response = client.post(path, content=b"any sound")
        assert response.status_code == 503
        assert folder in response.text


def test_without_an_index_files_and_documentation_are_answered(unopened: tuple[TestClient, str]) -> None:
    client, _ = unopened
    for path in ("/docs", "/openapi.json", "/static/page.css"):
        assert client.get(path).status_code == 200, path


def test_it_is_ready_when_searches_are_answered(client: TestClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"ready": True})
    assert "retry-after" not in response.headers


def test_the_index_is_opened_when_the_application_starts(collection: TestCollection) -> None:
    application = create_app(service_of(collection))
    starting = TestClient(application, base_url="http://localhost").get("/api/collection")  # without the start
    assert (starting.status_code, "the server is starting" in starting.json()["detail"]) == (503, True)
    with TestClient(application, base_url="http://localhost") as client:
        assert client.get("/healthz").status_code == 200


def test_invalid_parameters_are_named_in_one_sentence(client: TestClient) -> None:
    response = client.get("/api/search", params={"q": "x", "k": 0, "max_duration_s": -1})
    assert (response.status_code, list(response.json())) == (422, ["detail"])
    named = [fault.partition(":")[0] for fault in response.json()["detail"].split("; ")]
    assert sorted(named) == ["k", "max_duration_s"]


def test_no_more_than_five_invalid_parameters_are_named(client: TestClient) -> None:
    detail = client.get("/api/search", params={f"no{number}": "1" for number in range(8)}).json()["detail"]
    assert [part.partition(":")[0].strip() for part in detail.split(";")] == [
        *(f"no{n}" for n in range(5)),
        "and 3 more",
    ]


@pytest.mark.parametrize(("path", "is_whole"), [("/", True), ("/results", False)])
@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [("k", "0", "k: "), ("q", "x" * 501, "q.0: "), ("windows", "maybe", "windows: "), ("sound", "x" * 2001, "sound: ")],
    ids=["k", "q", "windows", "sound"],
)
def test_the_page_answers_invalid_parameters_with_html(
    client: TestClient, path: str, is_whole: bool, name: str, value: str, fault: str
) -> None:
    response = client.get(path, params={name: value})
    assert response.status_code == 422
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert ("<!doctype html>" in response.text) == is_whole
    assert f"<p>{fault}" in response.text
    assert "The search failed" in response.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no/such/path", 404),
        ("GET", "/api", 404),
        ("GET", "/static/none.js", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/..%2Fapp.py", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/api/search", 405),
        ("PUT", "/", 405),
        ("POST", "/docs", 405),
    ],
)
def test_what_does_not_exist_is_refused_as_json(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"]
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    allowed = {"/healthz": "GET", "/api/search": "GET, POST", "/": "GET, HEAD", "/docs": "GET"}
    assert response.headers.get("allow") == (allowed[path] if status == 405 else None)


def test_audio_whose_file_is_gone_or_truncated_is_said_to_be_missing(tmp_path: Path, model_uri: str) -> None:
    own = make_collection(tmp_path, model_uri, ids=["a/b", "c"], seconds=1.0)
    shard = tmp_path / "audio.tar"
    with TestClient(create_app(service_of(own)), base_url="http://localhost") as client:
        address = f"/audio/{quote('a/b', safe='')}"
        assert client.get(address).content == own.audio["a/b"]
        shard.write_bytes(shard.read_bytes()[:100])
        truncated = client.get(address)
        assert (truncated.status_code, "truncated" in truncated.json()["detail"]) == (404, True)
        shard.unlink()
        gone = client.get(address)
        assert (gone.status_code, "cannot be read" in gone.json()["detail"]) == (404, True)
        assert str(tmp_path) not in gone.text  # where files are is nobody's business


def test_an_index_that_comes_later_is_opened_by_another_start(tmp_path: Path, collection: TestCollection) -> None:
    index = tmp_path / "index"
    settings = ServerSettings(index_uri=str(index), model=collection.model_uri)
    service = SearchService(settings)
    with TestClient(create_app(service), base_url="http://localhost") as client:
        assert client.get("/healthz").status_code == 503
        shutil.copytree(collection.index_uri, index)
        service.refresh()
        assert client.get("/healthz").json() == {"ready": True}
        assert len(client.get("/api/search", params={"q": "x", "k": 12}).json()["hits"]) == 12
