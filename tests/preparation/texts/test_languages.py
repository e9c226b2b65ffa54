"""Tests the rule for languages with the identifier that is used."""

import pickle

import pytest

from mulan.preparation.faults import SettingsError
from mulan.preparation.texts.languages import LanguageRule
from mulan.preparation.texts.rule import TextContext

CONTEXT = TextContext()
ENGLISH = [
    "sad piano music for studying at night",
    "techno track with heavy bass and drums",
    "slow ambient drone with dark synth pads",
    "Sonata for violin and piano No. 3 in D minor",
    "gamelan music from Bali with bronze metallophones",
    "Hip-hop features rap with an electronic backing.",
    "The melody is so nostalgic and unforgettable.",
    "bossa nova jazz guitar cafe instrumental music",
]
FOREIGN = [
    "una canción muy bonita para bailar con mi novia",
    "eine ruhige Ballade mit Klavier und Geige",
    "chanson douce avec guitare acoustique et voix",
    "musica relaxante para dormir e meditar profundamente",
    "Русская народная песня под гитару и баян",
    "muzyka do nauki i relaksu na wieczór",
]


@pytest.fixture(scope="module")
def english() -> LanguageRule:
    return LanguageRule(["en"])


@pytest.mark.parametrize("text", ENGLISH)
def test_english_stays(english: LanguageRule, text: str) -> None:
    assert english(text, CONTEXT) == [text]


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_are_removed(english: LanguageRule, text: str) -> None:
    assert english(text, CONTEXT) == []


@pytest.mark.parametrize("text", ["techno", "bossa nova", "chanson douce avec guitare", "una canción muy bonita"])
def test_texts_of_up_to_four_words_are_not_judged(english: LanguageRule, text: str) -> None:
    assert english(text, CONTEXT) == [text]


def test_several_languages_may_be_wanted() -> None:
    rule = LanguageRule(["en", "de"])
    assert rule(FOREIGN[1], CONTEXT) == [FOREIGN[1]]
    assert rule(FOREIGN[0], CONTEXT) == []


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(SettingsError, match=r"text\.languages: xx, zz cannot be identified; the codes are .*, en, "):
        LanguageRule(["zz", "en", "xx"])


def test_the_rule_can_be_sent_to_other_processes(english: LanguageRule) -> None:
    copy = pickle.loads(pickle.dumps(english))
    assert [copy(text, CONTEXT) for text in FOREIGN + ENGLISH] == [english(text, CONTEXT) for text in FOREIGN + ENGLISH]
