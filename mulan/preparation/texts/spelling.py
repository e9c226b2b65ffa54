"""Rules for how texts are written: one spelling of characters and white space, no markup, emoji or ornaments."""

import html
import re
import unicodedata

from mulan.preparation.texts.rule import TextContext, without

_INVISIBLE = "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_CONTROLS = "".join(chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)] if not chr(code).isspace())
_SPELLING = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4`", "'")
    | dict.fromkeys("“”„«»", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")
    | dict.fromkeys("™®©℠" + _INVISIBLE, "")
    | dict.fromkeys(_CONTROLS, " ")
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""An HTML entity with its semicolon: without it, ``rock&section`` would have one."""
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|table|h[1-6]|hr|blockquote)\b[^<>]*>", re.IGNORECASE)
_INLINE_TAG = re.compile(
    r"</?(?:a|b|i|u|s|em|strong|span|font|small|big|sub|sup|code|img|wbr|mark|center)\b[^<>]*>", re.IGNORECASE
)


def normalize(text: str, context: TextContext) -> list[str]:
    """Writes a text in NFKC with plain quotes, hyphens and single spaces, without HTML and invisible characters."""
    previous = ""
    while text != previous:  # an entity may be written with entities
        previous = text
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
        text = _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", text))
        text = unicodedata.normalize("NFKC", text.translate(_SPELLING))
        if context.is_long_form:
            lines = (" ".join(line.split()) for line in text.splitlines())
            text = "\n".join(line for line in lines if line)
        else:
            text = " ".join(text.split())
    return [text]


_EMOJI = (
    r"[\u2190-\u21ff\u2300-\u23ff\u2500-\u266c\u2670-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d"
    r"\U0001f000-\U0001fbff\U000e0001-\U000e007f\ufe0e\ufe0f\u20e3]"
)
_EMOJI_SEQUENCE = re.compile(rf"(?:{_EMOJI}\u200d?)+")
"""Emoji, arrows, stars and other symbols, but not the signs of sharp, flat and natural (U+266D to U+266F). The joiner
U+200D is removed with them, and not between letters, where several scripts need it."""


def remove_emoji(text: str, context: TextContext) -> list[str]:
    """Removes emoji and pictographic symbols, but not musical accidentals."""
    return [text if text.isascii() else without(_EMOJI_SEQUENCE, text)]


_ORNAMENT = re.compile(r"([^\w\s.!?])\1{2,}")
_REPEATED_END = re.compile(r"([!?])[!?]{2,}|\.{4,}")


def shorten_ornaments(text: str, context: TextContext) -> list[str]:
    """Removes lines of three or more equal signs, and shortens repeated exclamation marks, question marks and dots."""
    shortened = _REPEATED_END.sub(lambda end: end[1] or "...", text)
    return [without(_ORNAMENT, shortened)]
