"""Tags that negate others, such as "no vocal", which models of text tend to mistake for what they negate.

Since the text embedding of "not rock" is similar to that of "rock", zero-shot tagging suffers (MuLan §4.2.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mulan.data.corpus.metadata import split_tag

_NEGATIONS = ("no ", "not ")


@dataclass(frozen=True)
class NegationPair:
    """A tag and another one that negates it."""

    tag: str
    """The tag, such as ``mtat:vocals``."""
    negation: str
    """The tag that negates it, such as ``mtat:no vocal``."""


def negation_pairs(tags: Sequence[str]) -> list[NegationPair]:
    """Returns the pairs of tags of one category of which one is "no" or "not" with the other, in singular or plural.

    Args:
        tags: Distinct tags, ``category:text``.

    Example:
        >>> negation_pairs(["a:vocals", "a:no vocal", "a:not rock"])
        [NegationPair(tag='a:vocals', negation='a:no vocal')]
    """
    known = {split_tag(tag): tag for tag in tags}
    return [
        NegationPair(known[category, form], tag)
        for (category, text), tag in known.items()
        for negation in _NEGATIONS
        if text.startswith(negation)
        for form in _forms(text.removeprefix(negation))
        if (category, form) in known
    ]


def _forms(noun: str) -> Iterator[str]:
    yield noun
    yield f"{noun}s"
    if noun.endswith("s"):
        yield noun.removesuffix("s")
