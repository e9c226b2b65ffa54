"""Tests the rules for length, letters and scripts."""

import pytest

from mulan.preparation.texts.limits import MAX_CHARACTERS_PER_WORD, limit_length, limit_letters, script_rule
from mulan.preparation.texts.rule import TextContext

SHORT = TextContext(max_words=4)
LONG = TextContext(max_words=4, is_long_form=True)


@pytest.mark.parametrize("text", ["", "1", "7!", "U2", "1999", "x", "...", "4'33\""])
def test_texts_without_two_letters_are_removed(text: str) -> None:
    assert limit_length(text, SHORT) == []
    assert limit_length(text, LONG) == []


@pytest.mark.parametrize("text", ["pop", "R&B", "봄", "春", "a1b", "one two three four"])
def test_other_short_texts_stay(text: str) -> None:
    assert limit_length(text, SHORT) == [text]


def test_long_texts_are_removed_or_cut() -> None:
    assert limit_length("one two three four five", SHORT) == []
    assert limit_length("one two three four five", LONG) == ["one two three four"]
    without_spaces = "音" * (4 * MAX_CHARACTERS_PER_WORD)
    assert limit_length(without_spaces, SHORT) == [without_spaces]
    assert limit_length(without_spaces + "音", SHORT) == []
    assert limit_length(without_spaces + "音", LONG) == [without_spaces]


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("ab 123", True),  # 2 of 5
        ("a 1234", True),  # 1 of 5: exactly 20 %
        ("a 12345", False),
        ("-----a", False),
        ("soooo good", True),
        ("sooooo good", False),
        ("AaAaA", False),
        ("哈哈哈哈哈", False),
        ("11111 one", True),
        ("हिन्दी संगीत", True),
        ("ก่ี่ี้", True),
    ],
)
def test_texts_without_enough_letters_or_with_repeated_ones_are_removed(text: str, stays: bool) -> None:
    assert limit_letters(text, SHORT) == ([text] if stays else [])


def test_the_script_matters_only_if_all_wanted_languages_are_written_in_latin_letters() -> None:
    texts = ["plain", "Für Élise", "Песня", "夜に駆ける", "Dynamite 방탄소년단", "abcdefgh 방탄", "123"]
    latin = ["plain", "Für Élise", "abcdefgh 방탄", "123"]
    for languages in (("en",), ("en", "de", "tr")):
        rule = script_rule(languages)
        assert [text for text in texts if rule(text, SHORT)] == latin
    for languages in ((), ("en", "ru"), ("ja",)):
        rule = script_rule(languages)
        assert [rule(text, SHORT) for text in texts] == [[text] for text in texts]
