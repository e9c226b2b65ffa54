"""Names of artists and titles, and texts, in a form in which different spellings of one are equal."""

import re
import unicodedata

_ACCENTS = frozenset(range(200, 250))
"""Canonical combining classes of marks above, below and beside a letter, such as accents. Marks of other classes are
parts of letters, such as vowels in Indian scripts and the voicing of kana."""

_FEATURING = re.compile(r" (?:feat|ft|featuring) .*")

_UNKNOWN = frozenset(
    {"unknown", "unknown artist", "various", "various artists", "va", "v a", "n a", "none", "null", "nan", "untitled"}
)
"""What metadata say in place of a name, normalised: they name no single artist, and no single title."""


def normalised(text: str) -> str:
    """Returns a text in lower case without accents, in which one space stands for everything but letters and digits.

    Example:
        >>> normalised("  Sigur Rós – «Hoppípolla» (live) ")
        'sigur ros hoppipolla live'
    """
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    kept = (character for character in decomposed if unicodedata.combining(character) not in _ACCENTS)
    words = "".join(character if unicodedata.category(character)[0] in "LNM" else " " for character in kept)
    return unicodedata.normalize("NFC", " ".join(words.split()))


def normalised_name(name: str) -> str:
    """Returns the normalised name of a title or artist; empty if it is unknown.

    The article ``The`` at the start, or after a comma at the end, is left out. Of a name that has neither letters nor
    digits (``!!!``), only case and white space are normalised.

    Example:
        >>> {normalised_name(name) for name in ("The Beatles", "beatles", "Beatles, The ")}
        {'beatles'}
        >>> normalised_name("Unknown Artist")
        ''
    """
    words = normalised(name) or " ".join(name.casefold().split()).strip("-_? ")
    if words in _UNKNOWN:
        return ""
    if re.search(r",\s*the\s*$", name, re.IGNORECASE):
        return words.removesuffix(" the")
    return words.removeprefix("the ")


def main_artist(artist: str) -> str:
    """Returns the normalised name of an artist without those that are featured; empty if it is unknown.

    Only ``feat.``, ``ft.`` and ``featuring`` introduce them: ``&`` and ``and`` are parts of names.

    Example:
        >>> main_artist("Beyoncé (feat. JAY-Z)"), main_artist("Simon & Garfunkel")
        ('beyonce', 'simon garfunkel')
    """
    return _FEATURING.sub("", normalised_name(artist))
