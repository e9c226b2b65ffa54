"""Rules that remove texts by their size and letters."""

import re
import unicodedata
from collections.abc import Callable

from mulan.preparation.texts.rule import TextContext, words

MIN_LETTERS = 2
"""Minimum number of letters of a text. A letter without case, such as an ideograph, counts as two: it may be a word."""
MAX_CHARACTERS_PER_WORD = 12
"""Maximum number of characters of a text for each permitted word, for scripts that put no spaces between words."""


def limit_length(text: str, context: TextContext) -> list[str]:
    """Removes texts with fewer than two letters, and too long ones; too long sentences of long-form texts are cut."""
    if len(text) > MAX_CHARACTERS_PER_WORD * context.max_words or len(text.split()) > context.max_words:
        if not context.is_long_form:
            return []
        text = " ".join(text.split()[: context.max_words])[: MAX_CHARACTERS_PER_WORD * context.max_words].strip()
    letters = 0
    for char in text:
        if char.isalpha():
            letters += 1 if char.islower() or char.isupper() else MIN_LETTERS
            if letters >= MIN_LETTERS:
                return [text]
    return []


MIN_LETTER_SHARE = 0.2
"""Minimum share of letters among a text's characters other than white space."""
_REPEATED_LETTER = re.compile(r"([^\W\d_])\1{4,}", re.IGNORECASE)


def limit_letters(text: str, context: TextContext) -> list[str]:
    """Removes texts of which more than 80 % are no letters, or in which a letter is repeated more than four times."""
    characters = [char for char in text if not char.isspace()]
    letters = sum(char.isalpha() or unicodedata.category(char)[0] == "M" for char in characters)
    if letters < MIN_LETTER_SHARE * len(characters) or _REPEATED_LETTER.search(text):
        return []
    return [text]


MIN_LATIN_SHARE = 0.8
"""Minimum share of Latin letters, where only languages with Latin letters are wanted."""

NOT_LATIN = words(
    "ab am ar as av ba be bg bn bo ce ckb cv dv dz el fa gu he hi hy ja ka kk km kn ko ks ky lo mai mk ml mn mr my ne "
    "new or os pa pnb ps ru sa sah sd si sr ta te tg th ti tt udm ug uk ur yi zh"
)
"""ISO 639 codes of languages that are written in other scripts than the Latin one."""


def script_rule(languages: tuple[str, ...]) -> Callable[[str, TextContext], list[str]]:
    """Returns the rule that removes texts in other scripts, which changes nothing if any language is written in one.

    Args:
        languages: Codes of the wanted languages; empty for all.
    """
    latin_only = bool(languages) and not NOT_LATIN & {*languages}
    return _require_latin if latin_only else _keep


def _require_latin(text: str, context: TextContext) -> list[str]:
    if text.isascii():
        return [text]
    letters = [char for char in text if char.isalpha()]
    latin = sum(char.isascii() or unicodedata.name(char, "").startswith("LATIN") for char in letters)
    return [text] if latin >= MIN_LATIN_SHARE * len(letters) else []


def _keep(text: str, context: TextContext) -> list[str]:
    return [text]
