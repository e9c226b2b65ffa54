"""Tests the page of the search server as text: everything is escaped, complete without scripts, and from one host."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest

from mulan.search.overview import TagCount
from mulan.serving.page import ShownQuery, address, categories, clock, heading, render_page, render_results
from mulan.serving.schema import Collection, Fault, Hit, Hits

HOSTILE = "a/b c\"'</script><b onclick=x()>&\ud800<!-- 音"
COLLECTION = Collection(
    recordings=1234,
    windows=5678,
    model="runs/demo/export",
    model_sha256="ab" * 32,
    tags=[
        TagCount(tag="genre:jazz", recordings=12),
        TagCount(tag="mood:calm", recordings=9),
        TagCount(tag="genre:rock", recordings=3),
        TagCount(tag="loose", recordings=1),
    ],
    examples=["calm piano", "fast & loud"],
)
EMPTY = COLLECTION.model_validate(COLLECTION.model_dump() | {"recordings": 0, "windows": 0, "tags": [], "examples": []})


def hit(recording_id: str = "one", **changes: object) -> Hit:
    values = {"title": "A title", "artist": "An artist", "duration_s": 65.0, "tags": ["genre:jazz"], "score": 0.456}
    values |= {
        "waveform": [0, 128, 255],
        "audio": "/audio/one",
        "offset_s": 0.0,
        "start_s": 12.5,
        "recording_id": recording_id,
    }
    return Hit.model_validate(values | changes)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.found if tag in tags]

    def fields(self) -> list[tuple[str, str]]:
        """Returns the fields that a browser would send with the form."""
        inputs = [each for each in self.of("input") if each.get("name") and "disabled" not in each]
        return [(each["name"], each["value"]) for each in inputs if each.get("type") != "checkbox" or "checked" in each]


PAGES = {
    "start": render_page(COLLECTION, ShownQuery(), None),
    "hits": render_page(COLLECTION, ShownQuery(texts=("x",), tags=("genre:jazz",)), Hits(hits=[hit(), hit("two")])),
    "nothing found": render_page(COLLECTION, ShownQuery(texts=("x",)), Hits(hits=[])),
    "fault": render_page(COLLECTION, ShownQuery(texts=("x",)), Fault(detail="The server is busy: try again.")),
    "empty": render_page(EMPTY, ShownQuery(), None),
    "hostile": render_page(
        COLLECTION,
        ShownQuery((HOSTILE, HOSTILE), (HOSTILE,), HOSTILE, HOSTILE, (HOSTILE, "genre:jazz"), HOSTILE),
        Hits(hits=[hit(HOSTILE, title=HOSTILE, artist=HOSTILE, tags=[HOSTILE], audio=f"/audio/{HOSTILE}")]),
    ),
}


@pytest.fixture(params=PAGES)
def elements(request: pytest.FixtureRequest) -> Elements:
    return Elements(PAGES[request.param])


def test_pages_obey_a_policy_without_inline_scripts_and_styles(elements: Elements) -> None:
    assert elements.of("style") == []
    assert elements.of("script") == [{"type": "module", "src": "/static/page.js"}]
    names = {name for _, attributes in elements.found for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_pages_name_no_other_host(elements: Elements) -> None:
    addresses = [each[name] for _, each in elements.found for name in ("href", "src", "action") if name in each]
    assert addresses and all(re.match(r"/(?!/)", address) for address in addresses)


def test_ids_are_unique_and_references_lead_to_them(elements: Elements) -> None:
    ids = Counter(each["id"] for _, each in elements.found if "id" in each)
    assert max(ids.values()) == 1
    names = ("for", "aria-labelledby", "aria-describedby")
    assert {each[name] for _, each in elements.found for name in names if name in each} <= set(ids)


def test_everything_that_is_operated_has_a_name(elements: Elements) -> None:
    labels = {each["for"] for each in elements.of("label") if "for" in each}
    for each in elements.of("input", "canvas", "audio"):
        is_named = "aria-label" in each or each.get("id") in labels
        assert is_named or each.get("type") in ("hidden", "checkbox") or "hidden" in each, each


def test_pages_say_their_language_and_fit_phones(elements: Elements) -> None:
    assert elements.of("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in elements.of("meta")


def test_what_comes_from_outside_is_escaped() -> None:
    page, elements = PAGES["hostile"], Elements(PAGES["hostile"])
    page.encode()  # no lone surrogate
    assert elements.of("b") == [] and page.count("</script>") == 1
    written = HOSTILE.replace("\ud800", r"\ud800")
    first = elements.of("li")[-2]  # the last one is that of the template
    assert (first["data-id"], first["data-audio"]) == (written, f"/audio/{written}")
    assert {value for name, value in elements.fields() if name in ("q", "not", "like")} == {written}


def test_links_contain_ids_and_tags_as_they_are() -> None:
    odd = "a/b c\"'&+%23#音"
    found = Hits(hits=[hit(odd, tags=[f"mood:{odd}"])])
    links = [each["href"] for each in Elements(render_results(COLLECTION, ShownQuery(texts=(odd,)), found)).of("a")]
    assert [parse_qs(urlsplit(link).query) for link in links] == [{"q": [odd], "tag": [f"mood:{odd}"]}, {"like": [odd]}]


def test_the_form_carries_the_query_without_scripts() -> None:
    query = ShownQuery(("piano", "rain"), ("drums",), "some id", "Title", ("mood:calm", "rare:tag"))
    sent = Elements(render_page(COLLECTION, query, Hits(hits=[]))).fields()
    assert sent == [
        *(("q", "piano"), ("q", "rain"), ("not", "drums"), ("like", "some id")),
        *(("tag", "mood:calm"), ("tag", "rare:tag")),
    ]


def test_hits_are_heard_from_their_best_moment_without_scripts() -> None:
    elements = Elements(render_results(COLLECTION, ShownQuery(texts=("x",)), Hits(hits=[hit()])))
    (audio,) = elements.of("audio")
    assert (audio["src"], audio["preload"], "controls" in audio) == ("/audio/one#t=12.5", "none", True)
    (item,) = [each for each in elements.of("li") if each["class"] == "hit"]
    assert (item["data-start"], item["data-moment"], item["data-waveform"]) == ("12.5", "12.5", "0 128 255")
    assert "1:05 · best at 0:12" in elements.text and "similarity 0.46" in elements.text


def test_recordings_chosen_by_tags_alone_have_no_similarity() -> None:
    page = render_results(COLLECTION, ShownQuery(tags=("genre:jazz",)), Hits(hits=[hit(), hit("two")]))
    assert "2 recordings<" in page and "similarity" not in page and "best" not in page


def test_without_windows_there_is_no_best_moment() -> None:
    plain = COLLECTION.model_validate(COLLECTION.model_dump() | {"windows": 0})
    page = render_page(plain, ShownQuery(texts=("x",)), Hits(hits=[hit(start_s=0)]))
    assert "best at" not in page and "data-moment" not in page and "moments" not in page


def test_chosen_tags_and_the_recording_searched_by_can_be_removed() -> None:
    query = ShownQuery(like="one", like_title="First", tags=("genre:jazz", "mood:calm"))
    elements = Elements(render_results(COLLECTION, query, Hits(hits=[])))
    assert [(each["href"], each["aria-label"]) for each in elements.of("a")] == [
        ("/?tag=genre%3Ajazz&tag=mood%3Acalm", "Remove: like First"),
        ("/?like=one&tag=mood%3Acalm", "Remove: genre: jazz"),
        ("/?like=one&tag=genre%3Ajazz", "Remove: mood: calm"),
    ]
    assert "No recording found: remove a tag" in elements.text


def test_a_fault_is_announced_and_the_query_is_kept() -> None:
    elements = Elements(PAGES["fault"])
    assert {"class": "fault", "role": "alert"} in elements.of("div")
    assert "The server is busy: try again." in elements.text
    assert ("q", "x") in elements.fields()


def test_an_empty_collection_has_nothing_to_operate() -> None:
    elements = Elements(PAGES["empty"])
    assert "The index has no recordings" in elements.text and "0 recordings" in elements.text
    assert elements.of("form", "input", "canvas") == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (ShownQuery(), ""),
        (ShownQuery(texts=("静かなピアノ",)), "“静かなピアノ”"),
        (ShownQuery(texts=("a", "b"), unwanted=("c", "d")), "“a” and “b”, but not “c” or “d”"),
        (ShownQuery(like="7"), "More like “7”"),
        (ShownQuery(texts=("a",), like="7", like_title="Seven"), "“a” and like “Seven”"),
        (ShownQuery(sound="x.wav"), "Like the sound “x.wav”"),
        (ShownQuery(unwanted=("c",)), "Not “c”"),
        (ShownQuery(tags=("genre:jazz",)), "Recordings with chosen tags"),
    ],
)
def test_the_heading_says_what_is_searched_for(query: ShownQuery, words: str) -> None:
    assert heading(query) == words


def test_a_query_in_japanese_is_shown_and_can_be_sent_again() -> None:
    query = ShownQuery(texts=("静かなピアノ",))
    page = render_page(COLLECTION, query, Hits(hits=[hit(title="高い音")]))
    assert "<title>“静かなピアノ” \N{EN DASH} Music search</title>" in page and "高い音" in page
    assert parse_qs(urlsplit(address(query)).query) == {"q": ["静かなピアノ"]}


def test_tags_are_grouped_by_category() -> None:
    assert categories(COLLECTION.tags, ["mood:calm", "mood:odd", "key:C"]) == {
        "genre": [("genre:jazz", 12), ("genre:rock", 3)],
        "mood": [("mood:calm", 9), ("mood:odd", 0)],
        "": [("loose", 1)],
        "key": [("key:C", 0)],
    }


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (59.9, "0:59"), (600, "10:00"), (36_000, "10:00:00")])
def test_moments_are_written_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
