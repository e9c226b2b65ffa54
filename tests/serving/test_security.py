"""Every answer has the protecting headers; without the token, or by a foreign name, nothing is answered."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from mulan.serving.app import create_app
from mulan.serving.security import HEADERS
from mulan.serving.service import SearchService
from mulan.serving.settings import ServerSettings
from tests.serving.collection import TestCollection

TOKEN = "a+token._~+/=="


@pytest.fixture(scope="module")
def guarded(collection: TestCollection) -> Iterator[TestClient]:
    settings = ServerSettings(
        index_uri=collection.index_uri, model=collection.model_uri, token=TOKEN, hosts=("localhost", "[::1]")
    )
    application = create_app(SearchService(settings))
    with TestClient(application, base_url="http://localhost", follow_redirects=False) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _without_cookies(guarded: TestClient) -> None:
    guarded.cookies.clear()


@pytest.mark.parametrize("path", ["/", "/docs", "/api/search?q=x", "/audio/none", "/no/such/path", "/static/page.js"])
def test_every_answer_has_the_protecting_headers(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


PATHS = [
    "/",
    "/results?q=x",
    "/docs",
    "/openapi.json",
    "/api/search?q=x",
    "/api/map",
    "/audio/tone-00",
    "/static/page.js",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(guarded: TestClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "mulan_token=wrong"}):
        response = guarded.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "a token is needed" in response.json()["detail"]
        assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", PATHS)
def test_the_token_opens_everything(guarded: TestClient, path: str) -> None:
    assert guarded.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_page_is_opened_by_an_address_and_then_by_a_cookie(guarded: TestClient) -> None:
    assert guarded.get("/", params={"token": "wrong"}).status_code == 401
    response = guarded.get("/", params={"token": TOKEN})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert "httponly" in response.headers["set-cookie"].lower()
    assert "samesite=lax" in response.headers["set-cookie"].lower()
    assert guarded.get("/").status_code == 200
    assert guarded.get("/api/search", params={"q": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 422),
        ("http://localhost", 422),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost:81", 403),
        ("http://[", 403),
    ],
)
def test_pages_of_other_servers_cannot_send_sounds(client: TestClient, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert client.post("/api/search", content=b"no sound", headers=headers).status_code == status
    assert client.get("/api/search", params={"q": "x"}, headers=headers).status_code == 200


def test_cookies_of_other_servers_of_this_machine_hide_no_token(guarded: TestClient) -> None:
    for others in ('settings={"a": 1}; ', "bad name=1; ", ""):
        headers = {"Cookie": f"{others}mulan_token={TOKEN}"}
        assert guarded.get("/api/search", params={"q": "x"}, headers=headers).status_code == 200


def test_a_token_in_the_address_is_removed_from_it_also_if_there_is_a_cookie(guarded: TestClient) -> None:
    response = guarded.get("/", params={"token": TOKEN}, headers={"Cookie": f"mulan_token={TOKEN}"})
    assert (response.status_code, response.headers["location"]) == (303, "/")


def test_a_token_may_contain_what_addresses_encode(guarded: TestClient) -> None:
    assert guarded.get(f"/?token={TOKEN}").status_code == 303  # as it is, and not only percent-encoded


def test_whether_it_is_ready_needs_no_token(guarded: TestClient) -> None:
    assert guarded.get("/healthz").json() == {"ready": True}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil", 421),
        ("", 421),
    ],
)
def test_the_server_answers_only_to_its_names(guarded: TestClient, host: str, status: int) -> None:
    assert guarded.get("/healthz", headers={"Host": host}).status_code == status
