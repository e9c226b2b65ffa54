"""Tests the rules for titles: brackets, words about a video, featured artists, and the artist's name."""

import pytest

from mulan.preparation.texts.rule import TextContext
from mulan.preparation.texts.titles import (
    remove_artist,
    remove_boilerplate,
    remove_brackets,
    remove_featured,
    split_title,
)

CONTEXT = TextContext()

BOILERPLATE_BRACKETS = [
    "(Official Video)",
    "[Official Music Video]",
    "(Official Lyric Video HD)",
    "[Lyrics]",
    "(with lyrics)",
    "(HD)",
    "[4K 60fps]",
    "(HQ Audio)",
    "(Remastered 2011)",
    "(2009 Digital Remaster)",
    "(Live)",
    "(Live 1985)",
    "(Live at Wembley Stadium)",
    "(Recorded live in Paris)",
    "【MV】",
    "[M/V]",
    "(Visualizer)",
    "(Videoclip Oficial)",
    "(Clip Officiel)",
    "(Legendado)",
    "(Explicit)",
    "(1999)",
    "(公式)",
    "( )",
]
MUSICAL_BRACKETS = [
    "(Acoustic Version)",
    "(Piano Cover)",
    "(Jazz Remix)",
    "(Remix)",
    "(Cover)",
    "(Instrumental)",
    "(Slowed + Reverb)",
    "(8D Audio)",
    "(Extended Mix)",
    "(Symphonic Live Orchestra)",
    "(432 Hz)",
    "(Live and Let Die)",
    "(방탄소년단)",
]


@pytest.mark.parametrize("brackets", BOILERPLATE_BRACKETS)
def test_boilerplate_in_brackets_is_removed(brackets: str) -> None:
    assert remove_brackets(f"Blue Train {brackets}", CONTEXT) == ["Blue Train"]
    assert remove_brackets(f"{brackets} Blue {brackets} Train (Jazz)", CONTEXT) == ["Blue Train (Jazz)"]


@pytest.mark.parametrize("brackets", MUSICAL_BRACKETS)
def test_musical_brackets_stay(brackets: str) -> None:
    assert remove_brackets(f"Blue Train {brackets}", CONTEXT) == [f"Blue Train {brackets}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Blue Train - Official Video", "Blue Train"),
        ("Blue Train | Live at the Village Vanguard", "Blue Train"),
        ("Blue Train - 2003 Remaster", "Blue Train"),
        ("Blue Train - Live", "Blue Train"),
        ("Blue Train Official Music Video HD", "Blue Train"),
        ("Blue Train lyrics video", "Blue Train"),
        ("Blue Train with lyrics", "Blue Train"),
        ("Blue Train M/V", "Blue Train"),
        ("Blue Train - Jazz Remix", "Blue Train - Jazz Remix"),
        ("Live - Throwing Copper", "Live - Throwing Copper"),
        ("official video", ""),
        ("Lyrics", ""),
        ("HD", ""),
        ("music video", ""),
        ("live", "live"),
        ("live music", "live music"),
        ("cover", "cover"),
        ("remix", "remix"),
        ("remastered", "remastered"),
        ("single", "single"),
        ("new song", "new song"),
        ("acoustic live session", "acoustic live session"),
        ("song with beautiful lyrics", "song with beautiful lyrics"),
        ("AC/DC style rock", "AC/DC style rock"),
    ],
)
def test_words_about_a_video_are_removed(text: str, expected: str) -> None:
    assert remove_boilerplate(text, CONTEXT) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Umbrella ft. Jay-Z", "Umbrella"),
        ("Umbrella feat. Jay-Z & Co (Remix)", "Umbrella (Remix)"),
        ("Umbrella (feat. Jay-Z)", "Umbrella"),
        ("Umbrella [ft Jay-Z] - Remix", "Umbrella - Remix"),
        ("Umbrella featuring Jay-Z", "Umbrella"),
        ("Mix 2011 ft Avicii", "Mix 2011"),
        ("Umbrella (prod. by Tricky)", "Umbrella"),
        ("Trap Beat prod. by Tricky | 140 bpm", "Trap Beat | 140 bpm"),
        ("jazz trio featuring saxophone", "jazz trio featuring saxophone"),
        ("a 6 ft. speaker and 10ft tall", "a 6 ft. speaker and 10ft tall"),
        ("a feat", "a feat"),
        ("soft features", "soft features"),
    ],
)
def test_featured_artists_are_removed(text: str, expected: str) -> None:
    assert remove_featured(text, CONTEXT) == [expected]


@pytest.mark.parametrize(
    ("artist", "text", "expected"),
    [
        ("Adele", "Adele - Hello", "Hello"),
        ("adele", "ADELE: Hello", "Hello"),
        ("Adele", "Hello - Adele", "Hello"),
        ("Adele", "Hello by Adele", "Hello"),
        ("Adele", "Adele 'Hello'", "'Hello'"),
        ("Adele", "Adele", ""),
        ("Daft Punk", "Daft Punk Around the World", "Around the World"),
        ("AC/DC", "AC-DC | Thunderstruck", "Thunderstruck"),
        ("Sigur Rós", "Sigur Rós - Hoppípolla", "Hoppípolla"),
        ("Queen", "Queen of the Night", "Queen of the Night"),
        ("Air", "Air on the G String", "Air on the G String"),
        ("Piano", "Jazz Piano - Slow", "Jazz Piano - Slow"),
        ("Ella", "Ella's Song - Swing", "Ella's Song - Swing"),
        ("(((", "((( - noise", "((( - noise"),
        ("", "Adele - Hello", "Adele - Hello"),
    ],
)
def test_the_known_artist_is_removed(artist: str, text: str, expected: str) -> None:
    assert remove_artist(text, TextContext(artist=artist)) == [expected]


@pytest.mark.parametrize("channel", ["Adele", "Adele - Topic", "AdeleVEVO", "Adele Official"])
def test_the_channel_is_removed_beside_a_title_only(channel: str) -> None:
    context = TextContext(channel=channel)
    assert remove_artist("Adele - Hello", context) == ["Hello"]
    assert remove_artist("Adele", context) == ["Adele"]


def test_titles_of_an_unknown_artist_are_split() -> None:
    assert split_title("Adele - Hello", CONTEXT) == ["Adele", "Hello"]
    for text in ("Lo-fi beats", "A - Hello", "one two - three - four", "Song - 5"):
        assert split_title(text, CONTEXT) == [text]
    assert split_title("Adele - Hello", TextContext(artist="Dido")) == ["Adele - Hello"]
