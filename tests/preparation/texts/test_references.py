"""Tests the rules for addresses, handles, hashtags and times."""

from collections.abc import Callable, Sequence

import pytest

from mulan.preparation.texts.references import remove_handles, remove_times, remove_urls, unfold_hashtags
from mulan.preparation.texts.rule import TextContext

RuleFunction = Callable[[str, TextContext], Sequence[str]]

PLANTED: list[tuple[RuleFunction, str, str]] = [
    (remove_urls, "Song https://youtu.be/abc?x=1", "Song"),
    (remove_urls, "Song (http://a.b/c) Mix", "Song Mix"),
    (remove_urls, "more at www.example.org/jazz.", "more at"),
    (remove_urls, "visit mysite.com for jazz", "visit for jazz"),
    (remove_urls, "bit.ly/3abc slow waltz", "slow waltz"),
    (remove_urls, "mail dj.night+promo@mail.example.com now", "mail now"),
    (remove_urls, "in volume.Oboes/flutes are playing", "in volume.Oboes/flutes are playing"),
    (remove_urls, "Dr. Dre and/or M.I.A. vs. 3.5/4 time", "Dr. Dre and/or M.I.A. vs. 3.5/4 time"),
    (remove_urls, "Will.i.am e.g. Op.9", "Will.i.am e.g. Op.9"),
    (remove_handles, "Song by @some.one_1!", "Song by!"),
    (remove_handles, "@dj night drive", "night drive"),
    (remove_handles, "Live @ the Apollo", "Live @ the Apollo"),
    (remove_handles, "a@b", "a@b"),
    (unfold_hashtags, "#lofi #chill_hop", "lofi chill hop"),
    (unfold_hashtags, "Night #LofiBeats", "Night Lofi Beats"),
    (unfold_hashtags, "Night drive #shorts #fyp #viral", "Night drive"),
    (unfold_hashtags, "#ジャズ", "ジャズ"),
    (unfold_hashtags, "Prelude in C# minor", "Prelude in C# minor"),
    (unfold_hashtags, "#1 hits, # 5", "#1 hits, # 5"),
    (remove_times, "the solo at 3:45 is great", "the solo at is great"),
    (remove_times, "Mix [1:02:03]", "Mix"),
    (remove_times, "Part 0:30 - 1:30 loop", "Part loop"),
    (remove_times, "aspect 16:9, 4'33\", 3:4 feel", "aspect 16:9, 4'33\", 3:4 feel"),
    (remove_times, "Symphony No. 5: Andante", "Symphony No. 5: Andante"),
    (remove_times, "Psalm 23:1", "Psalm 23:1"),
    (remove_times, "0:00 Intro\n[1:30] Verse\n02. Bridge (2:10)\nA calm track.", "A calm track."),
]


@pytest.mark.parametrize(("rule", "text", "expected"), PLANTED)
def test_references_are_removed(rule: RuleFunction, text: str, expected: str) -> None:
    assert rule(text, TextContext()) == [expected]
