"""Tests the rules for how texts are written."""

import pytest

from mulan.preparation.texts.rule import TextContext
from mulan.preparation.texts.spelling import normalize, remove_emoji, shorten_ornaments

CONTEXT = TextContext()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\U0001d5df\U0001d5fc\U0001d5f3\U0001d5f6 beats", "Lofi beats"),
        ("\uff21\uff22\uff23\u3000\uff33\uff4f\uff4e\uff47", "ABC Song"),
        ("Don\u2019t Stop \u2013 \u201cLive\u201d", 'Don\'t Stop - "Live"'),
        ("  a\t b\r\nc \u00a0 d ", "a b c d"),
        ("Rock &amp; Roll", "Rock & Roll"),
        ("Rock &amp;amp; Roll", "Rock & Roll"),
        ("&#119;altz &#x266D;", "waltz ♭"),
        ("drum&bass rock&section R&B AT&T", "drum&bass rock&section R&B AT&T"),
        ("<b>bold</b> and <i class='x'>fine</i>", "bold and fine"),
        ("one<br/>two<p>three</p>", "one two three"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("I <3 this <Title> a < b", "I <3 this <Title> a < b"),
        ("Song\u2122 \u00a9 Name\u00ae", "Song Name"),
        ("zero\u200bwidth \ufeffmark \u202ertl", "zerowidth mark rtl"),
        ("bell\x07 null\x00", "bell null"),
        ("cafe\u0301", "café"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("plain text", "plain text"),
    ],
)
def test_texts_have_one_spelling(text: str, expected: str) -> None:
    assert normalize(text, CONTEXT) == [expected]
    assert normalize(expected, CONTEXT) == [expected]


def test_long_form_texts_keep_their_lines() -> None:
    text = "one  two\r\n\r\nthree<br>four\u2028five\n"
    assert normalize(text, TextContext(is_long_form=True)) == ["one two\nthree\nfour\nfive"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chill vibes 🎧🔥", "Chill vibes"),
        ("🎵 Jazz 🎷 Night 🎵", "Jazz Night"),
        ("♪ Waltz ♫", "Waltz"),
        ("family 👨‍👩‍👧‍👦 song", "family song"),
        ("flag 🇧🇷 samba", "flag samba"),
        ("❤️ love ☆ star ▶ play", "love star play"),
        ("Nocturne in E♭ major, C♯ minor, B♮", "Nocturne in E♭ major, C♯ minor, B♮"),
        ("夜に駆ける", "夜に駆ける"),
        ("ක්\u200dරි", "ක්\u200dරි"),
        ("180° turn", "180° turn"),
    ],
)
def test_emoji_are_removed_but_not_musical_signs(text: str, expected: str) -> None:
    assert remove_emoji(text, CONTEXT) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wow!!!!!!", "wow!"),
        ("what?!?!?!", "what?"),
        ("wait.....", "wait..."),
        ("wait...", "wait..."),
        ("=====\nSong", "Song"),
        ("*** Song ***", "Song"),
        ("Yes!! -- no", "Yes!! -- no"),
    ],
)
def test_ornaments_are_shortened(text: str, expected: str) -> None:
    assert shorten_ornaments(text, CONTEXT) == [expected]
