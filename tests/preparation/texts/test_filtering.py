"""Tests the filters of a recording's texts on planted ones, and their properties."""

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulan.config.sections import StoredSource
from mulan.data.corpus.metadata import check_metadata
from mulan.data.text import is_blank, is_unicode
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.settings import TextConfig
from mulan.preparation.texts.filtering import TextFilters
from mulan.preparation.texts.rule import Rule, TextContext
from mulan.preparation.texts.rules import LONG_FORM, RULE_NAMES, SHORT_FORM
from tests.preparation.texts.planted import LONG_TEXTS, SHORT_TEXTS, Planted

AUDIO = AudioLocation(uri="/music/a.mp3")
SMALL = TextConfig(channel_memory_mib=1, unfiltered=False)


def recording(
    texts: Mapping[StoredSource, Sequence[str]], *, artist: str = "", channel: str = "", recording_id: str = "a"
) -> FoundRecording:
    return FoundRecording(recording_id=recording_id, audio=AUDIO, texts=texts, artist=artist, channel=channel)


def filtered(source: StoredSource, planted: Planted, filters: TextFilters) -> list[str]:
    return filters.filtered(recording({source: [planted.text]}, artist=planted.artist)).get(source, [])


def test_there_are_enough_planted_texts() -> None:
    assert len(SHORT_TEXTS) + len(LONG_TEXTS) >= 80


@pytest.mark.parametrize("planted", SHORT_TEXTS, ids=lambda planted: planted.text[:40])
def test_planted_short_texts(planted: Planted) -> None:
    assert filtered("short_form", planted, TextFilters(SMALL)) == list(planted.expected)
    assert filtered("playlist", planted, TextFilters(SMALL)) == list(planted.expected)


@pytest.mark.parametrize("planted", LONG_TEXTS, ids=lambda planted: planted.text[:40])
def test_planted_long_texts(planted: Planted) -> None:
    assert filtered("long_form", planted, TextFilters(SMALL)) == list(planted.expected)


def test_filtering_the_planted_texts_again_changes_nothing() -> None:
    filters = TextFilters(SMALL)
    both: tuple[tuple[StoredSource, Sequence[Planted]], ...] = (("short_form", SHORT_TEXTS), ("long_form", LONG_TEXTS))
    for source, texts in both:
        for planted in texts:
            again = recording({source: list(planted.expected)}, artist=planted.artist)
            assert filters.filtered(again).get(source, []) == list(planted.expected)


WORDS = (
    "Song Love - : ( ) [Official Video) [Live] feat. ft Queen #tag @me 1:23 www.a.com subscribe now !!!! "
    "| &amp; <b> é ♭ 🎵 。 夜 "
    "a. No. 5 ===== ﷺ &#xFF06; lt; by / \ud800 \u200d"
)
PIECES = st.sampled_from([*WORDS.split(" "), "\n", "\t", " ", " - ", "  "])
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES, max_size=14).map(" ".join), st.text())


PROPERTIES = TextFilters(TextConfig(channel_memory_mib=1, long_form_max_words=6, short_form_max_words=6))


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, max_size=3), artist=st.sampled_from(["", "Queen", "Love Song", "("]))
def test_filters_are_idempotent_and_their_texts_fit_a_corpus(texts: list[str], artist: str) -> None:
    found = recording({"short_form": texts, "long_form": texts, "playlist": texts, "audioset": texts}, artist=artist)
    kept = PROPERTIES.filtered(found)
    check_metadata({"texts": kept, "duration_s": 1})
    assert PROPERTIES.filtered(recording(kept, artist=artist)) == kept


@pytest.mark.parametrize("name", RULE_NAMES)
def test_a_rule_that_is_off_leaves_its_texts_alone(name: str) -> None:
    """With all other rules off, the rule changes a text of the planted ones; with all off, nothing is changed."""
    others = tuple(rule for rule in RULE_NAMES if rule != name)
    config = SMALL.replace(off=others, languages=("en",), long_form_max_words=8, short_form_max_words=8)
    with_rule, without = TextFilters(config), TextFilters(config.replace(off=RULE_NAMES))
    found = [
        recording({source: [planted.text, planted.text.upper()]}, artist=planted.artist, channel="channel")
        for source, texts in (("short_form", SHORT_TEXTS), ("long_form", LONG_TEXTS))
        for planted in texts
    ]
    for _ in range(11):
        for each in found:
            with_rule.observe(each)
    assert [without.filtered(each) for each in found] == [each.texts for each in found]
    assert [with_rule.filtered(each) for each in found] != [each.texts for each in found]
    assert {rule for rule, did in with_rule.report.rules.items() if did.changed or did.removed} == {name}
    assert not any(did.changed or did.removed for did in without.report.rules.values())


def recount(text: str, rules: Sequence[Rule], context: TextContext) -> dict[str, list[int]]:
    """Counts what rules do to a text, written differently: part by part, recursively."""
    counts = {rule.name: [0, 0, 0] for rule in rules}

    def settle(part: str) -> None:
        original = part
        for rule in rules:
            counts[rule.name][0] = 1
            results = [result for result in rule.apply(part, context) if not is_blank(result)]
            if results == []:
                counts[rule.name][2] += 1
                return
            if results != [part]:
                counts[rule.name][1] = 1
                for result in results[1:]:
                    settle(result)
            part = results[0]
        if part != original:
            settle(part)

    settle(text)
    return counts


def test_the_counts_of_the_report_are_exact() -> None:
    filters = TextFilters(SMALL.replace(off=("repeats", "channel")))
    expected: dict[str, Counter[int]] = {}
    cases: tuple[tuple[StoredSource, Sequence[Planted], tuple[Rule, ...], int], ...] = (
        ("short_form", SHORT_TEXTS, SHORT_FORM, 24),
        ("long_form", LONG_TEXTS, LONG_FORM, 128),
    )
    for source, texts, rules, words in cases:
        for planted in texts:
            filtered(source, planted, filters)
            context = TextContext(artist=planted.artist, max_words=words, is_long_form=source == "long_form")
            for name, counts in recount(planted.text, rules, context).items():
                expected.setdefault(name, Counter()).update(dict(enumerate(counts)))
    found = {
        name: Counter({0: did.texts, 1: did.changed, 2: did.removed}) for name, did in filters.report.rules.items()
    }
    assert found.pop("unreadable") == Counter({0: len(SHORT_TEXTS) + len(LONG_TEXTS)})
    assert found == expected
    assert sum(did[1] for did in expected.values()) > 50


def test_the_report_does_not_depend_on_the_order_of_the_texts() -> None:
    forwards, backwards = TextFilters(SMALL), TextFilters(SMALL)
    for planted, other in zip(SHORT_TEXTS, reversed(SHORT_TEXTS), strict=True):
        filtered("short_form", planted, forwards)
        filtered("short_form", other, backwards)
    assert forwards.report.as_json() == backwards.report.as_json()


def album(number: int, channel: str = "label") -> FoundRecording:
    """Returns a recording whose texts are on every, every second, every third ... recording of the channel."""
    texts = [f"Phrase {'abcdefghij'[each]} words" for each in range(10) if number % (each + 1) == 0]
    return recording({"short_form": [*texts, texts[0]], "long_form": texts[:1]}, channel=channel)


def test_boilerplate_of_a_channel_is_removed_as_an_exact_count_says() -> None:
    config = SMALL.replace(max_channel_repeats=7)
    filters = TextFilters(config)
    recordings = [
        *(album(number) for number in range(1, 31)),
        *(album(1, channel=f"c{number}") for number in range(30)),
    ]
    for each in recordings:
        filters.observe(each)
    exact = Counter((each.channel, text) for each in recordings for text in {*each.texts["short_form"]})
    for each in recordings:
        expected = [text for text in dict.fromkeys(each.texts["short_form"]) if exact[each.channel, text] <= 7]
        assert filters.filtered(each).get("short_form", []) == expected
    assert filters.report.rules["channel"].removed > 100
    assert TextFilters(config).filtered(recordings[0])["short_form"] == ["Phrase a words"]  # nothing was observed


def test_a_first_pass_is_needed_only_for_the_rule_that_counts() -> None:
    assert TextFilters(SMALL).needs_observation
    filters = TextFilters(SMALL.replace(off=("channel",)))
    assert not filters.needs_observation
    for number in range(30):
        filters.observe(album(number))
    assert "Phrase a words" in filters.filtered(album(6))["short_form"]


def test_observing_does_not_count_in_the_report() -> None:
    filters = TextFilters(SMALL)
    filters.observe(album(1))
    assert filters.report.as_json() == {}


def test_texts_as_found_are_kept_if_wanted() -> None:
    texts: dict[StoredSource, list[str]] = {
        "short_form": ["Song (Official Video)", " ", "HD", "a\ud800"],
        "long_form": ["Subscribe!"],
        "audioset": ["Music", "\n"],
    }
    filters = TextFilters(SMALL.replace(unfiltered=True))
    assert filters.filtered(recording(texts)) == {
        "short_form": ["Song"],
        "audioset": ["Music"],
        "short_form_unfiltered": ["Song (Official Video)", "HD"],
        "long_form_unfiltered": ["Subscribe!"],
    }
    assert filters.report.rules["unreadable"].removed == 3
    assert TextFilters(SMALL).filtered(recording(texts)) == {"short_form": ["Song"], "audioset": ["Music"]}


def test_unfiltered_texts_of_the_source_are_not_replaced() -> None:
    texts: dict[StoredSource, list[str]] = {"short_form": ["Song"], "short_form_unfiltered": ["Song (Official Video)"]}
    assert TextFilters(TextConfig(channel_memory_mib=1)).filtered(recording(texts)) == texts


def test_repeats_are_removed_within_a_source_only() -> None:
    texts: dict[StoredSource, list[str]] = {"short_form": ["Jazz", "jazz!!!", "JAZZ", "Pop"], "long_form": ["Jazz"]}
    assert TextFilters(SMALL).filtered(recording(texts)) == {
        "short_form": ["Jazz", "jazz!", "Pop"],
        "long_form": ["Jazz"],
    }


def test_titles_of_playlists_are_joined_and_filtered(tmp_path: Path) -> None:
    table = tmp_path / "playlists.csv"
    table.write_text("playlist,recording\nLatin workout 💃,a\nHD,a\nlatin workout,a\nSleep,b\n")
    filters = TextFilters(SMALL.replace(playlists=str(table)))
    assert filters.filtered(recording({"playlist": ["Salsa"]})) == {"playlist": ["Salsa", "Latin workout"]}
    assert filters.filtered(recording({}, recording_id="c")) == {}
    assert filters.report.rules["playlists"].texts == 3


def test_only_wanted_languages_stay() -> None:
    texts = ["una canción muy bonita para bailar", "a very slow song for dancing", "canción", "Песня", "songs"]
    filters = TextFilters(SMALL.replace(languages=("en",)))
    assert filters.filtered(recording({"short_form": texts}))["short_form"] == [texts[1], "canción", "songs"]


def test_filters_can_be_sent_to_other_processes() -> None:
    filters = TextFilters(SMALL.replace(languages=("en",)))
    for number in range(1, 31):
        filters.observe(album(number))
    copy = pickle.loads(pickle.dumps(filters))
    for number in range(1, 31):
        assert copy.filtered(album(number)) == filters.filtered(album(number))
    assert copy.report.as_json() == filters.report.as_json()


def test_planted_texts_are_unicode() -> None:
    assert all(is_unicode(planted.text) for planted in (*SHORT_TEXTS, *LONG_TEXTS))
