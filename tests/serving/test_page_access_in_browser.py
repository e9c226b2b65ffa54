"""Tests who can use the page of the search server: with the keyboard, on a phone, without scripts, and on its map."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.serving.conftest import Opening, Site

pytestmark = pytest.mark.processes  # a browser

IS_HEARD = (
    "() => { const audio = document.querySelector('audio#player'); return !audio.paused && audio.currentTime > 0 }"
)
POSITION = "Number(document.querySelector('#results [role=slider]').getAttribute('aria-valuenow'))"
PHONE = {"width": 390, "height": 844}
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


def open_map(page: Page) -> Locator:
    """Opens the map, and returns it once its points are there."""
    with page.expect_response("**/api/map"):
        page.get_by_text("Map of the collection").click()
    canvas = page.get_by_role("application", name="Map of the collection")
    expect(page.locator("#pointed")).to_have_text("")
    return canvas


def test_a_click_on_the_map_is_heard(page: Page, site: Site) -> None:
    points = page.request.get(f"{site.url}/api/map").json()["points"]
    canvas = open_map(page)
    box = canvas.bounding_box()
    assert box is not None
    # the point at the left edge; the map has a margin
    target = min(points, key=lambda point: point["x"])
    canvas.click(position={"x": 14, "y": 14 + target["y"] * (box["height"] - 28)})
    card = page.get_by_role("list", name="Chosen on the map")
    expect(card.get_by_role("heading")).to_have_text(target["title"])
    page.wait_for_function(IS_HEARD)
    card.get_by_text("More like this").click()
    expect(page.get_by_role("heading", name=f"More like “{target['title']}”")).to_be_focused()
    assert parse_qs(urlsplit(page.url).query) == {"like": [target["recording_id"]]}
    expect(card.get_by_role("button", name=re.compile("^Pause"))).to_be_visible()  # it is heard on


def test_the_map_is_used_with_the_keyboard(page: Page) -> None:
    canvas, pointed = open_map(page), page.locator("#pointed")
    canvas.focus()
    canvas.press("ArrowRight")
    expect(pointed).not_to_have_text("")
    first = pointed.inner_text()
    moved = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        canvas.press(key)
        moved.add(pointed.inner_text())
    assert moved != {first}
    title = pointed.inner_text().partition(" · ")[0]
    canvas.press("Enter")
    expect(page.get_by_role("list", name="Chosen on the map").get_by_role("heading")).to_have_text(title)
    page.wait_for_function(IS_HEARD)


def test_the_groups_of_the_map_are_named_and_can_be_shown_alone(page: Page) -> None:
    open_map(page)
    legend = page.get_by_role("list", name=re.compile("^Show only one"))
    buttons = legend.get_by_role("button")
    assert buttons.count() > 1
    buttons.first.click()
    assert [each.get_attribute("aria-pressed") for each in buttons.all()].count("true") == 1
    buttons.first.click()
    assert [each.get_attribute("aria-pressed") for each in buttons.all()].count("true") == 0


def test_a_map_that_cannot_be_loaded_is_reported_and_tried_again(page: Page) -> None:
    page.route("**/api/map", lambda route: route.abort())
    page.get_by_text("Map of the collection").click()
    expect(page.locator("#pointed")).to_contain_text("could not be loaded")
    page.unroute("**/api/map")
    page.get_by_text("Map of the collection").click()
    open_map(page)
    expect(page.get_by_role("list", name=re.compile("^Show only one")).get_by_role("button").first).to_be_visible()


def test_all_is_done_with_the_keyboard(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.get_by_label("Describe the music")).to_be_focused()
    page.keyboard.type("tone")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="“tone”")).to_be_visible()
    play = page.locator("#results .play").first
    for _ in range(40):
        page.keyboard.press("Tab")
        if play.evaluate("element => element === document.activeElement"):
            break
    expect(play).to_be_focused()
    assert play.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Space")
    page.wait_for_function(IS_HEARD)
    page.keyboard.press("Tab")
    slider = page.locator("#results").get_by_role("slider").first
    expect(slider).to_be_focused()
    page.keyboard.press("Home")
    page.wait_for_function(f"() => {POSITION} < 3")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => {POSITION} > 4")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('audio#player').paused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(opened: Opening, site: Site, scheme: str) -> None:
    page = opened(f"{site.url}/?q=tone&tag={site.tag}", viewport=PHONE, color_scheme=scheme)
    page.get_by_text("Refine and filter by tags").click()
    open_map(page)
    page.locator("#results .play").first.click()
    page.wait_for_function(IS_HEARD)
    width, available = page.evaluate(WIDTHS)
    assert width <= available == PHONE["width"]
    page.get_by_label("Choose a file").set_input_files(
        {"name": "x" * 200, "mimeType": "audio/wav", "buffer": b"not a sound"}
    )
    expect(page.locator("#results").get_by_role("alert")).to_be_visible()
    assert page.evaluate(WIDTHS)[0] <= available


def test_the_page_works_without_scripts(opened: Opening, site: Site) -> None:
    page = opened(site.url, java_script_enabled=False)
    page.get_by_label("Describe the music").fill("静かな tone")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("heading", name="“静かな tone”")).to_be_visible()
    expect(page.locator("#results audio").first).to_be_visible()
    page.get_by_text("Refine and filter by tags").click()
    page.locator(f'input[name=tag][value="{site.tag}"]').check()
    page.get_by_label("Describe the music").press("Enter")
    expect(page.get_by_role("link", name=re.compile("^Remove:"))).to_be_visible()
    expect(page.get_by_label("Describe the music")).to_have_value("静かな tone")
    page.get_by_text("More like this").first.click()
    expect(page.get_by_role("heading", name=re.compile("^More like"))).to_be_visible()
    expect(page.get_by_role("button", name="Record")).to_be_hidden()


@pytest.mark.parametrize("scripts", [True, False])
def test_an_empty_index_is_explained(opened: Opening, site: Site, scripts: bool) -> None:
    page = opened(site.empty_url, java_script_enabled=scripts, viewport=PHONE)
    expect(page.get_by_role("heading", name="There is nothing to search yet")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)
