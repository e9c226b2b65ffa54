"""The rule for languages, which judges only texts that are long enough for an identifier."""

from collections.abc import Sequence
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from mulan.preparation.faults import SettingsError
from mulan.preparation.texts.rule import TextContext

MIN_WORDS = 5
"""Minimum number of words of a text that is judged: identifiers take most short English texts for other languages."""
MIN_PROBABILITY = 0.01
"""Minimum probability of the wanted languages together. It is low, because a text that is wrongly removed is lost."""


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class LanguageRule:
    """Removes texts that are clearly in none of the wanted languages (py3langid)."""

    def __init__(self, languages: Sequence[str]) -> None:
        """
        Args:
            languages: ISO 639 codes of the wanted languages, one or more.

        Raises:
            SettingsError: A language is unknown to the identifier.
        """
        self._identifier = _identifier()
        known = sorted(self._identifier.labels)
        if unknown := sorted({*languages} - {*known}):
            fault = f"text.languages: {', '.join(unknown)} cannot be identified; the codes are {', '.join(known)}"
            raise SettingsError([fault])
        self._wanted = frozenset(languages)

    def __call__(self, text: str, context: TextContext) -> list[str]:
        """Returns the text, or nothing if it has at least :data:`MIN_WORDS` words and is in another language."""
        if len(text.split()) < MIN_WORDS:
            return [text]
        return [text] if self.probability(text) >= MIN_PROBABILITY else []

    def probability(self, text: str) -> float:
        """Returns the probability that a text is in one of the wanted languages."""
        return sum(probability for code, probability in self._identifier.rank(text) if code in self._wanted)


def language_of(text: str) -> str:
    """Returns the ISO 639 code of a text's most probable language; empty if it has too few words."""
    return str(_identifier().classify(text)[0]) if len(text.split()) >= MIN_WORDS else ""
