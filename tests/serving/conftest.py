"""An application of a small collection, servers of it for tests in a browser, and pages that report every fault.

The path of Chromium is in MULAN_CHROMIUM, or it is installed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.testclient import TestClient

from mulan.serving.app import create_app
from tests.serving.collection import HOSTILE, TestCollection, make_collection
from tests.serving.running import service_of, serving

ARGUMENTS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
TIMEOUT_MS = 15_000
TITLES = (
    "Low & slow", "A steady tone", "高い音", 'Quote " and </script><b>bold</b>', "Night bus", "Glass", "Paper boats",
    "An exceedingly long title that no column of a page has room for, in C minor",
)  # fmt: skip


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> TestCollection:
    ids = [*(f"tone-{number:02d}" for number in range(11)), HOSTILE]
    return make_collection(tmp_path_factory.mktemp("collection"), model_uri, ids=ids)


@pytest.fixture(scope="session")
def client(collection: TestCollection) -> Iterator[TestClient]:
    with TestClient(create_app(service_of(collection)), base_url="http://localhost") as opened:
        yield opened


@dataclass(frozen=True)
class Site:
    """Servers of the page, and what is known of the collection of the first one."""

    url: str
    empty_url: str
    """Address of a server whose index has no recordings."""
    tag: str
    """A tag that some recordings have, but not all."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, model_uri: str) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ids = [f"folder {number % 3}/{title[:6]} {number}" for number, title in enumerate(3 * TITLES)]
    full = make_collection(folder / "full", model_uri, ids=ids, titles=3 * TITLES, seconds=12.0)
    empty = make_collection(folder / "empty", model_uri, ids=[])
    with serving(full) as url, serving(empty) as empty_url:
        yield Site(url, empty_url, "genre:high")


@pytest.fixture(scope="module")  # no longer: while it runs, no test of other files could run an event loop
def browser() -> Iterator[Browser]:
    program = os.environ.get("MULAN_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("MULAN_CHROMIUM does not name Chromium, and none is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


Opening = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, site: Site) -> Iterator[Opening]:
    """Yields a function that opens a page; errors of scripts, violated policies and other hosts fail the test."""
    faults: list[str] = []
    contexts = []

    def open_page(url: str, **options: object) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        # answers with an error are part of some tests, and the browser logs each one
        page.on(
            "console",
            lambda message: (
                faults.append(message.text)
                if message.type == "error" and not message.text.startswith("Failed to load resource")
                else None
            ),
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if not is_own(request.url) else None)
        page.goto(url)
        return page

    def is_own(url: str) -> bool:
        return url.startswith(("http://127.0.0.1:", "data:", "blob:"))

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(opened: Opening, site: Site) -> Page:
    return opened(site.url)
