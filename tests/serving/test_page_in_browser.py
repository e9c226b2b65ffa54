"""Tests the page of the search server in a browser: searches by text, by sound and by recording, and the player."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from mulan.search import summary
from mulan.serving.page import ShownQuery, render_results
from mulan.serving.schema import Collection, Fault
from mulan.serving.settings import MAX_UPLOAD_BYTES
from tests.serving.collection import make_collection
from tests.serving.conftest import Opening, Site
from tests.serving.running import serving
from tests.sounds import tone, wav

pytestmark = pytest.mark.processes  # a browser

HEARD = "document.querySelector('audio#player')"
SOUND = wav(tone(440, 2.0), rate_hz=16_000)


def search(page: Page, text: str) -> None:
    page.get_by_label("Describe the music").fill(text)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("heading", name=f"“{text}”")).to_be_visible()


def wait_until(page: Page, condition: str) -> None:
    page.wait_for_function(f"() => {condition}")


def hits(page: Page) -> list[str]:
    """Returns the ids of the recordings found."""
    return page.locator("#results .hit").evaluate_all("hits => hits.map((hit) => hit.dataset.id)")


def fulfil_busy(route: Route) -> None:
    known = Collection(recordings=1, windows=0, model="", model_sha256="", tags=[], examples=[])
    fault = Fault(detail="Too many searches at once: try again in a moment.")
    route.fulfill(status=503, content_type="text/html", body=render_results(known, ShownQuery(texts=("x",)), fault))


def test_a_text_finds_recordings(page: Page) -> None:
    search(page, "a low drone")
    assert len(hits(page)) > 1
    assert parse_qs(urlsplit(page.url).query) == {"q": ["a low drone"]}
    assert page.title().startswith("“a low drone”")
    expect(page.get_by_role("status").first).to_contain_text("recordings, the best one first")


def test_an_example_is_searched_for(page: Page) -> None:
    example = page.locator(".examples a").first
    text = example.inner_text()
    example.click()
    expect(page.get_by_role("heading", name=f"“{text}”")).to_be_visible()
    expect(page.get_by_label("Describe the music")).to_have_value(text)


def test_parameters_that_the_form_does_not_show_stay_from_search_to_search(page: Page, site: Site) -> None:
    kept = {"k": ["2"], "min_duration_s": ["0.5"]}
    page.goto(f"{site.url}/?q=drone&k=2&min_duration_s=0.5")
    search(page, "tone")
    assert parse_qs(urlsplit(page.url).query) == {"q": ["tone"], **kept}
    assert len(hits(page)) == 2
    recording_id = hits(page)[0]
    page.locator("#results .hit").first.get_by_text("More like this").click()
    expect(page.get_by_role("heading", name=re.compile("^More like"))).to_be_focused()
    assert parse_qs(urlsplit(page.url).query) == {"like": [recording_id], **kept}
    choose(page, "sound.wav", SOUND)
    expect(page.get_by_role("heading", name="Like the sound “sound.wav”")).to_be_visible()
    assert len(hits(page)) == 2
    page.locator(".examples a").first.click()
    expect(page.get_by_role("heading", name="Like the sound “sound.wav”")).to_be_hidden()
    assert len(hits(page)) > 2


def test_the_same_search_again_is_no_step_of_the_history(page: Page) -> None:
    search(page, "first")
    search(page, "second")
    search(page, "second")
    page.go_back()
    expect(page.get_by_role("heading", name="“first”")).to_be_visible()


def test_a_text_in_japanese(page: Page) -> None:
    search(page, "静かなピアノ")
    assert parse_qs(urlsplit(page.url).query) == {"q": ["静かなピアノ"]}
    page.reload()
    expect(page.get_by_role("heading", name="“静かなピアノ”")).to_be_visible()


def test_recordings_are_heard_from_their_best_moment_and_one_at_a_time(page: Page) -> None:
    search(page, "tone")
    first, second = page.locator("#results .hit").nth(0), page.locator("#results .hit").nth(1)
    start = float(first.get_attribute("data-start") or "")
    first.get_by_role("button", name=re.compile("^Play")).click()
    wait_until(page, f"{HEARD}.currentTime > {start}")
    assert page.evaluate(f"{HEARD}.currentTime") < start + 3
    expect(first.get_by_role("button", name=re.compile("^Pause"))).to_be_visible()
    second.get_by_role("button", name=re.compile("^Play")).click()
    expect(second.get_by_role("button", name=re.compile("^Pause"))).to_be_visible()
    expect(first.get_by_role("button", name=re.compile("^Play"))).to_be_visible()
    second.get_by_role("button", name=re.compile("^Pause")).click()
    wait_until(page, f"{HEARD}.paused")


def test_the_waveform_seeks_by_click_and_by_keys(page: Page) -> None:
    search(page, "tone")
    slider = page.locator("#results").get_by_role("slider").first
    length = float(slider.get_attribute("aria-valuemax") or "")
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    wait_until(page, f"{HEARD}.currentTime > {0.5 * length - 0.5}")
    slider.press("Home")
    wait_until(page, f"{HEARD}.currentTime < {0.5 * length - 0.5}")
    position = "document.querySelector('#results [role=slider]').getAttribute('aria-valuenow')"
    wait_until(page, f"Number({position}) < {0.5 * length - 0.5}")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^\d+:\d\d of \d+:\d\d$"))


def test_a_recording_that_cannot_be_played_can_be_downloaded(page: Page) -> None:
    search(page, "tone")
    hit = page.locator("#results .hit").first
    audio = hit.get_attribute("data-audio") or ""
    page.route(f"**{audio}", lambda route: route.fulfill(content_type="audio/x-odd", body=b"no sound"))
    hit.get_by_role("button", name=re.compile("^Play")).click()
    expect(hit.get_by_role("alert")).to_contain_text("This browser cannot play this recording")
    expect(hit.get_by_role("link", name="Download the file")).to_have_attribute("href", audio)


def test_a_recording_that_the_server_does_not_send(page: Page) -> None:
    search(page, "tone")
    missing, lost = page.locator("#results .hit").nth(0), page.locator("#results .hit").nth(1)
    page.route(f"**{missing.get_attribute('data-audio')}", lambda route: route.fulfill(status=404))
    page.route(f"**{lost.get_attribute('data-audio')}", lambda route: route.abort())
    missing.get_by_role("button", name=re.compile("^Play")).click()
    expect(missing.get_by_role("alert")).to_contain_text("The server cannot send this recording: status 404")
    lost.get_by_role("button", name=re.compile("^Play")).click()
    expect(lost.get_by_role("alert")).to_contain_text("The server cannot be reached")


def test_more_like_a_hit(page: Page) -> None:
    search(page, "tone")
    recording_id = hits(page)[0]
    page.locator("#results .hit").first.get_by_text("More like this").click()
    expect(page.get_by_role("heading", name=re.compile("^More like"))).to_be_focused()
    assert parse_qs(urlsplit(page.url).query) == {"like": [recording_id]}
    assert recording_id not in hits(page)
    expect(page.get_by_label("Describe the music")).to_have_value("")


def test_the_way_back_and_forward(page: Page, site: Site) -> None:
    search(page, "first text")
    search(page, "second text")
    page.go_back()
    expect(page.get_by_role("heading", name="“first text”")).to_be_visible()
    expect(page.get_by_label("Describe the music")).to_have_value("first text")
    page.go_back()
    expect(page.get_by_role("heading", name="What would you like to hear?")).to_be_visible()
    assert page.url == f"{site.url}/"
    page.go_forward()
    expect(page.get_by_role("heading", name="“first text”")).to_be_visible()


def test_tags_filter_and_are_removed(page: Page, site: Site) -> None:
    search(page, "tone")
    page.get_by_text("Refine and filter by tags").click()
    page.locator(f'input[name=tag][value="{site.tag}"]').check()
    chip = page.get_by_role("link", name=f"Remove: {site.tag.replace(':', ': ')}")
    expect(chip).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"q": ["tone"], "tag": [site.tag]}
    assert hits(page)
    chip.click()
    expect(chip).to_be_hidden()
    expect(page.locator(f'input[name=tag][value="{site.tag}"]')).not_to_be_checked()


def test_what_is_not_wanted_is_sent(page: Page) -> None:
    page.get_by_text("Refine and filter by tags").click()
    page.get_by_label("Describe the music").fill("piano")
    page.get_by_label("But not").fill("drums")
    page.get_by_label("But not").press("Enter")
    expect(page.get_by_role("heading", name="“piano”, but not “drums”")).to_be_visible()


def choose(page: Page, name: str, content: bytes) -> None:
    page.get_by_label("Choose a file").set_input_files({"name": name, "mimeType": "audio/wav", "buffer": content})


def test_a_file_is_searched_by_and_its_results_are_filtered(page: Page, site: Site) -> None:
    choose(page, "whistle & hum.wav", SOUND)
    heading = page.get_by_role("heading", name="Like the sound “whistle & hum.wav”")
    expect(heading).to_be_visible()
    page.get_by_text("Refine and filter by tags").click()
    page.locator(f'input[name=tag][value="{site.tag}"]').check()
    expect(page.get_by_role("link", name=re.compile("^Remove:"))).to_be_visible()
    expect(heading).to_be_visible()
    search(page, "a text again")
    page.go_back()
    expect(heading).to_be_visible()


def test_a_dropped_file_is_searched_by(page: Page) -> None:
    page.evaluate(
        """bytes => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], "dropped.wav", { type: "audio/wav" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        list(SOUND),
    )
    expect(page.get_by_role("heading", name="Like the sound “dropped.wav”")).to_be_visible()


def test_a_file_that_cannot_be_decoded_or_is_too_large_is_refused(page: Page, tmp_path: Path) -> None:
    choose(page, "letter.wav", b"not a sound")
    expect(page.locator("#results").get_by_role("alert")).to_contain_text("decode")
    with (tmp_path / "concert.wav").open("wb") as file:
        file.truncate(MAX_UPLOAD_BYTES + 1)
    page.get_by_label("Choose a file").set_input_files(tmp_path / "concert.wav")
    expect(page.locator("#results").get_by_role("alert")).to_contain_text("“concert.wav” is larger than 20 MB")
    choose(page, "nothing.wav", b"")
    expect(page.locator("#results").get_by_role("alert")).to_contain_text("is empty")


def test_the_microphone_is_searched_by(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#counter")).to_have_text("1 of 15 s")
    page.get_by_role("button", name="Stop and search").click()
    expect(page.get_by_role("heading", name="Like the sound “your recording”")).to_be_visible()
    expect(page.get_by_role("button", name="Record")).to_be_visible()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))",
            "The microphone may not be used",
        ),
        ("delete window.MediaRecorder", "This browser cannot record"),
        ("Object.defineProperty(window, 'isSecureContext', { value: false })", "only to pages at https:// addresses"),
    ],
)
def test_why_the_microphone_cannot_be_used_is_said(page: Page, script: str, reason: str) -> None:
    page.evaluate(f"() => {{ {script} }}")
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert")).to_contain_text(reason)


def test_a_server_that_is_busy_or_gone_is_reported(page: Page) -> None:
    alert = page.locator("#results").get_by_role("alert")
    page.route("**/results?*", fulfil_busy)
    page.get_by_label("Describe the music").fill("x")
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("Too many searches at once")
    page.unroute("**/results?*")
    page.route("**/results?*", lambda route: route.fulfill(status=502, content_type="text/html", body="<p>Bad gateway"))
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("status 502")
    page.unroute("**/results?*")
    page.route("**/results?*", lambda route: route.abort())
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("The server cannot be reached")
    page.unroute("**/results?*")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="“x”")).to_be_visible()


def test_a_server_that_does_not_answer_is_reported(opened: Opening, site: Site) -> None:
    page = opened("about:blank")
    page.clock.install()
    page.goto(site.url)
    page.route("**/results?*", lambda route: None)
    page.get_by_label("Describe the music").fill("x")
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    page.clock.fast_forward(61_000)
    expect(page.locator("#results").get_by_role("alert")).to_contain_text("has not answered for 60 seconds")


def test_only_the_newest_search_is_shown(page: Page) -> None:
    held: list[Route] = []
    page.route("**/results?q=slow", lambda route: held.append(route))
    page.get_by_label("Describe the music").fill("slow")
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    search(page, "quick")
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    assert len(held) == 1


def test_a_tag_that_is_too_rare_for_a_box_stays_chosen(
    opened: Opening, tmp_path_factory: pytest.TempPathFactory, model_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MAX_TAGS", 1)
    rare = make_collection(tmp_path_factory.mktemp("rare"), model_uri, ids=["a", "b", "c", "d"], seconds=1.0)
    with serving(rare) as url:
        page = opened(f"{url}/?q=tone")
        page.locator("#results").get_by_role("link", name="high").first.click()
        chip = page.get_by_role("link", name="Remove: genre: high")
        expect(chip).to_be_visible()
        search(page, "drone")
        assert parse_qs(urlsplit(page.url).query) == {"q": ["drone"], "tag": ["genre:high"]}
        assert len(hits(page)) == 2
        chip.click()
        expect(chip).to_be_hidden()
        search(page, "other")
        assert parse_qs(urlsplit(page.url).query) == {"q": ["other"]}


def test_a_part_of_a_file_is_heard_from_its_beginning_to_its_end(
    opened: Opening, tmp_path_factory: pytest.TempPathFactory, model_uri: str
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    part = make_collection(folder, model_uri, ids=["part"], seconds=8.0, part=(4.0, 2.0))
    with serving(part) as url:
        page = opened(f"{url}/?q=tone")
        hit = page.locator("#results .hit")
        expect(hit.locator(".time")).to_have_text("0:02")
        hit.get_by_role("slider").press("Home")
        wait_until(page, f"{HEARD}.currentTime >= 4 && {HEARD}.currentTime < 6")
        wait_until(page, f"{HEARD}.paused && {HEARD}.currentTime >= 6 && {HEARD}.currentTime < 7")
        hit.get_by_role("button", name=re.compile("^Play")).click()
        wait_until(page, f"!{HEARD}.paused && {HEARD}.currentTime < 6")
