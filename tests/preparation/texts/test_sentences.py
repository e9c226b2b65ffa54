"""Tests the rule that splits long-form texts into sentences."""

import pytest

from mulan.preparation.texts.rule import TextContext
from mulan.preparation.texts.sentences import sentences_of, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["A slow waltz.", "It has strings!", "Who sings?", "A baritone"],
        ['"So nostalgic."', "(A melody in D minor.)", "Unforgettable..."],
        ["Beethoven's Op. 27 No. 2 in C# minor.", "It was played by Dr. Smith vs. J. S. Bach, e.g. in 1901."],
        ["120.5 bpm in 3.5 minutes.", "2 drummers play."],
        ["静かな曲。", "ピアノが美しい。"],
        ["Песня про любовь.", "Играет гитара."],
        ["no end", "but lines"],
    ],
)
def test_sentences_are_found(sentences: list[str]) -> None:
    joined = "\n".join(sentences) if sentences[0] == "no end" else " ".join(sentences)
    assert sentences_of(joined) == sentences
    assert all(sentences_of(sentence) == [sentence] for sentence in sentences)


def test_nothing_but_white_space_is_lost() -> None:
    text = "One. Two!  Three?\n\nFour (five.) Six 'seven.' Eight"
    assert "".join(sentences_of(text)).replace(" ", "") == "".join(text.split())


def test_only_long_texts_are_split_by_default() -> None:
    text = "One two three.\nFour five six."
    assert split_sentences(text, TextContext(max_words=6)) == ["One two three. Four five six."]
    assert split_sentences(text, TextContext(max_words=5)) == ["One two three.", "Four five six."]
    assert split_sentences(text, TextContext(max_words=6, split_sentences=True)) == ["One two three.", "Four five six."]
    assert split_sentences("One two. Three", TextContext(max_words=3)) == ["One two. Three"]
