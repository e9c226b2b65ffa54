"""The page without scripts: a search is an address, which answers with its results or with the reason for none."""

import html
import re
from importlib import resources

import pytest
from starlette.testclient import TestClient

from tests.serving.collection import HOSTILE, TestCollection
from tests.sounds import flac, tone


def title_of(page: str) -> str:
    (title,) = re.findall(r"<title>(.*?)</title>", page)
    return html.unescape(title)


def heading_of(page: str) -> str:
    (heading,) = re.findall(r'<h2 id="found"[^>]*>(.*?)</h2>', page)
    return html.unescape(heading)


def shown_ids(page: str) -> list[str]:
    """Returns the ids of the hits that a page shows, without the blank one of the template for scripts."""
    shown = page.partition("<template")[0]
    return [html.unescape(name) for name in re.findall(r'<li class="hit" data-id="([^"]*)"', shown)]


def found_ids(client: TestClient, **parameters: str) -> list[str]:
    hits = client.get("/api/search", params=parameters).json()["hits"]
    return [hit["recording_id"] for hit in hits]


def test_the_page_before_a_search_shows_the_collection(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert (title_of(response.text), shown_ids(response.text)) == ("Music search", [])
    assert "12 recordings, 72 moments" in response.text
    assert heading_of(response.text) == "What would you like to hear?"


@pytest.mark.parametrize(
    ("parameters", "heading"),
    [
        ({"q": "slow sad piano"}, "“slow sad piano”"),
        ({"q": "piano", "not": "drums"}, "“piano”, but not “drums”"),
        ({"not": "drums"}, "Not “drums”"),
        ({"like": "tone-03"}, "More like “Tone 4”"),
        ({"like": HOSTILE}, "More like “Tone 0”"),
        ({"q": "piano", "like": "tone-03"}, "“piano” and like “Tone 4”"),
        ({"tag": "genre:high"}, "Recordings with chosen tags"),
        ({"q": "piano", "tag": "genre:high"}, "“piano”"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/results"])
def test_a_search_shows_what_the_api_finds(
    client: TestClient, path: str, parameters: dict[str, str], heading: str
) -> None:
    response = client.get(path, params=parameters)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert heading_of(response.text) == heading
    expected = found_ids(client, **parameters)
    assert expected and shown_ids(response.text) == expected
    assert parameters.get("like") not in expected
    if path == "/":
        assert title_of(response.text) == f"{heading} \N{EN DASH} Music search"
    else:
        assert "<html" not in response.text


def test_the_form_and_the_links_keep_parameters_that_they_do_not_show(client: TestClient) -> None:
    page = client.get("/", params={"q": "piano", "k": "3", "windows": "true"}).text
    assert len(shown_ids(page)) == 3
    fields = re.findall(r'<input type="hidden" class="unshown" name="(\w+)" value="(.*?)"( disabled)?>', page)
    given = {name: value for name, value, disabled in fields if not disabled}
    assert given == {"k": "3", "windows": "true"}
    (link, *_) = re.findall(r'class="like" href="(.*?)"', page)
    assert "k=3" in link and "windows=true" in link
    assert len(shown_ids(client.get(html.unescape(link)).text)) == 3


def test_the_page_searches_for_no_other_recordings_than_it_shows(client: TestClient) -> None:
    page = client.get("/", params={"like": ["", "tone-03", "tone-05"]}).text
    assert heading_of(page) == "More like “Tone 4”"
    assert shown_ids(page) == found_ids(client, like="tone-03")
    assert shown_ids(page) != found_ids(client, like="tone-05")


def test_recordings_chosen_by_tags_alone_have_no_similarity(client: TestClient) -> None:
    page = client.get("/", params={"tag": "genre:high"}).text
    assert len(shown_ids(page)) == 6
    assert "similarity" not in page.partition("<template")[0].partition('class="found"')[2]
    assert 'value="genre:high" checked' in page


def test_blank_fields_of_the_form_are_no_search(client: TestClient) -> None:
    response = client.get("/?q=&q=&not=&like=")
    assert (response.status_code, title_of(response.text)) == (200, "Music search")


@pytest.mark.parametrize("path", ["/", "/results"])
def test_an_unknown_recording_is_said_on_the_page(client: TestClient, path: str) -> None:
    response = client.get(path, params={"like": "<b>none"})
    assert response.status_code == 404
    assert heading_of(response.text) == "The search failed"
    assert "there is no recording '<b>none' in the index" in html.unescape(response.text)
    assert "<b>" not in response.text
    if path == "/":  # it can be searched for something else
        assert 'name="q"' in response.text


def test_the_page_ignores_parameters_of_others(client: TestClient) -> None:
    assert client.get("/?q=piano&utm_source=elsewhere").status_code == 200


def test_results_without_a_query_ask_for_one(client: TestClient) -> None:
    response = client.get("/results")
    assert response.status_code == 200
    assert heading_of(response.text) == "What would you like to hear?"
    assert shown_ids(response.text) == []


@pytest.mark.processes
def test_a_sound_finds_what_the_api_finds(client: TestClient, collection: TestCollection) -> None:
    content = collection.audio["tone-05"]
    assert "Like the sound" not in client.get("/", params={"sound": "none.flac", "tag": "genre:high"}).text
    response = client.post("/results", params={"sound": "my <tone>.flac"}, content=content)
    assert response.status_code == 200
    assert heading_of(response.text) == "Like the sound “my <tone>.flac”"
    hits = client.post("/api/search", content=content).json()["hits"]
    assert shown_ids(response.text) == [hit["recording_id"] for hit in hits]
    assert shown_ids(response.text)[0] == "tone-05"


@pytest.mark.processes
@pytest.mark.parametrize("content", [b"no audio at all", flac(tone(440.0, 1.0))[:2000]])
def test_a_sound_that_cannot_be_decoded_is_said_on_the_page(client: TestClient, content: bytes) -> None:
    response = client.post("/results", params={"sound": "x.flac"}, content=content)
    assert response.status_code == 422
    assert "the sound cannot be decoded" in response.text
    assert heading_of(response.text) == "The search failed"


@pytest.mark.parametrize(
    ("name", "package", "media_type"),
    [
        ("page.js", "mulan.serving/static", "text/javascript"),
        ("page.css", "mulan.serving/static", "text/css"),
        ("icon.svg", "mulan.serving/static", "image/svg+xml"),
        ("style.css", "mulan.pages", "text/css"),
    ],
)
def test_files_of_the_page_have_their_media_types(client: TestClient, name: str, package: str, media_type: str) -> None:
    response = client.get(f"/static/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == media_type
    module, _, folder = package.partition("/")
    assert response.content == resources.files(module).joinpath(folder, name).read_bytes()


def test_all_files_that_the_page_names_exist(client: TestClient) -> None:
    named = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/").text + client.get("/docs").text))
    scripts = [client.get(name).text for name in named if name.endswith(".js")]
    named |= {f"/static/{name}" for script in scripts for name in re.findall(r'from "\./([^"]+)"', script)}
    assert len(named) > 5
    assert {name: client.get(name).status_code for name in named} == dict.fromkeys(named, 200)


@pytest.mark.parametrize("name", ["none.js", "hit.html", "page_routes.py"])
def test_other_files_are_not_answered(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_documentation_lists_every_operation(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    operations = {f"{method.upper()} {path}" for path, item in described.items() for method in item}
    assert {"GET /api/search", "POST /api/search", "GET /audio/{recording_id}", "GET /healthz"} <= operations
    page = client.get("/docs").text
    headings = re.findall(r'<h2 id="operation-\d+"><code>(.*?)</code></h2>', page)
    assert set(map(html.unescape, headings)) == operations
    assert not {path for path in described if path in ("/", "/results", "/docs", "/static/{name}")}


def test_a_refused_request_keeps_its_texts_and_the_collection(client: TestClient) -> None:
    response = client.get("/", params={"q": ["x" * 501, "piano"], "not": "drums", "tag": "genre:low"})
    assert response.status_code == 422
    assert "at most 500 characters" in response.text
    assert f'value="{"x" * 501}"' in response.text
    assert 'value="piano"' in response.text
    assert 'value="drums"' in response.text
    assert "12 recordings" in response.text
    assert 'maxlength="500"' in response.text
