"""Tests the rendering of pages: everything is escaped and contained in the page."""

from pathlib import Path

import jinja2
import pytest

from mulan.pages.rendering import data_uri, render


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / f"package_{tmp_path.name}"  # a package is imported once per process
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html").write_text("<style>{{ style }}</style><p>{{ text | shout }}</p>", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_values_are_escaped_and_the_style_is_not(package: str) -> None:
    page = render(package, "page.html", {"shout": str.upper}, text="<b>&</b>")
    assert "<p>&lt;B&gt;&amp;&lt;/B&gt;</p>" in page
    assert '"Segoe UI"' in page  # the quotes of a font's name


def test_a_missing_value_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(package, "page.html", {"shout": lambda text: text + ""})


def test_content_is_part_of_its_address() -> None:
    assert data_uri(b"\xff\x00", "audio/flac") == "data:audio/flac;base64,/wA="


def test_texts_that_cannot_be_encoded_are_written_as_escapes(package: str) -> None:
    page = render(package, "page.html", {"shout": str.upper}, text="\ud800")
    assert r"<p>\ud800</p>" in page
    page.encode()


def test_templates_include_others_of_their_package(package: str, tmp_path: Path) -> None:
    folder = tmp_path / package
    (folder / "part.html").write_text("<b>{{ text }}</b>", encoding="utf-8")
    (folder / "page.html").write_text('{% include "part.html" %}', encoding="utf-8")
    assert render(package, "page.html", {}, text="<&>") == "<b>&lt;&amp;&gt;</b>"
