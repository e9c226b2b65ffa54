"""Tests that different spellings of a name are equal when normalised, and that different names are not."""

import unicodedata

import pytest

from mulan.preparation.names import main_artist, normalised, normalised_name

SPELLINGS = [
    ("Björk", "BJÖRK", unicodedata.normalize("NFD", "björk"), "  Bjork\t", "Bjork."),
    ("The Beatles", "beatles", "Beatles, The", "BEATLES,the", "the  beatles"),
    (
        "Jay-Z",
        "JAY Z",
        "Jay\u00a0Z",
        "Jay-Z feat. Alicia Keys",
        "Jay-Z (ft. Rihanna & Kanye West)",
        "jay z Featuring X",
    ),
    ("Straße", "STRASSE", "strasse"),
    ("\uff21\uff22\uff22\uff21", "Abba", "\U0001d400bba"),
    ("AC/DC", "AC DC", "ac-dc"),
    ("曲 (feat.初音ミク)", "曲"),
    ("!!!", " !!! "),
]
DIFFERENT = [
    ("が", "か"),  # voicing, which is a mark when decomposed
    ("कि", "कु", "का"),  # vowels, which are marks
    ("Simon & Garfunkel", "Simon"),
    ("Feat", "The Feat of X"),
    ("!!!", "???!"),
    ("The The", "The Beatles"),
]


@pytest.mark.parametrize("names", SPELLINGS, ids=lambda names: names[0])
def test_spellings_of_one_artist(names: tuple[str, ...]) -> None:
    assert len({main_artist(name) for name in names}) == 1
    assert main_artist(names[0])


@pytest.mark.parametrize("names", DIFFERENT, ids=lambda names: names[0])
def test_different_artists(names: tuple[str, ...]) -> None:
    assert len({main_artist(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["", " ", "-", "?", "Unknown", "UNKNOWN ARTIST", "Various Artists", "V.A.", "n/a", "None"]
)
def test_no_artist(name: str) -> None:
    assert main_artist(name) == ""


def test_a_normalised_text_is_normalised() -> None:
    for text in ("Hoppípolla \u2013 (Live!)", "ΣΊΣΥΦΟΣ", "naïve\r\ncafé", "北京 2008", "ﬁn"):
        once = normalised(text)
        assert once == normalised(once) == once.strip() == once.lower()
        assert unicodedata.is_normalized("NFC", once)
    assert normalised("ﬁn \u2013 CAFÉ,\n\tno.1") == "fin cafe no 1"
    assert normalised_name("Untitled") == ""
