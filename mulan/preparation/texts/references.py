"""Rules for references to something else than the music: addresses, handles, hashtags and times."""

import re

from mulan.preparation.texts.rule import TextContext, tidied, without, words

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(
    r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>()\[\]\"|]+"
    r"|(?<![\w.@-])(?:[\w-]+\.)+(?:com|net|org|info|biz|io)\b(?:/[^\s<>()\[\]\"|]*)?"
    r"|(?<![\w.@-])(?:[\w-]+\.)+(?:app|at|be|br|cc|ch|co|de|es|fm|fr|gg|gl|ie|it|jp|kr|link|ly|me|mx|nl|page|pl|ru|se|to|tv|uk|us)/[^\s<>()\[\]\"|]+",
    re.IGNORECASE,
)


def remove_urls(text: str, context: TextContext) -> list[str]:
    """Removes addresses of web pages and of e-mail."""
    return [without(_URL, without(_EMAIL, text) if "@" in text else text) if "." in text or "/" in text else text]


_HANDLE = re.compile(r"(?<![\w.@/])@[\w.]*\w")


def remove_handles(text: str, context: TextContext) -> list[str]:
    """Removes handles, such as ``@name``; an @ before a blank is none."""
    return [without(_HANDLE, text) if "@" in text else text]


_HASHTAG = re.compile(r"(?<![\w#&])#(\w*[^\W\d_]\w*)")
_ABOUT_THE_SITE = words(
    "ad capcut duet edit explore explorepage fbreels follow followme followforfollow foryou foryoupage fy fyp fypage "
    "fypシ giveaway instagood instagram instareels like likeforlike likes love4like parati reel reels share short "
    "shorts shortsfeed shortsvideo shortvideo sub4sub subscribe tiktok tiktokviral trend trending trendingreels video "
    "viral viralreels viralshorts viralvideo youtube youtuber youtubeshorts ytshorts"
)
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _word_of(hashtag: re.Match[str]) -> str:
    word = hashtag[1]
    if word.casefold() in _ABOUT_THE_SITE:
        return " "
    return _CAMEL_CASE.sub(" ", word.replace("_", " "))


def unfold_hashtags(text: str, context: TextContext) -> list[str]:
    """Writes hashtags as words (``#LofiBeats`` as ``Lofi Beats``), and removes those about a site (``#fyp``).

    ``C#``, ``F# minor`` and ``#1`` are no hashtags.
    """
    if "#" not in text:
        return [text]
    unfolded, count = _HASHTAG.subn(_word_of, text)
    return [tidied(unfolded) if count else text]


_TIME = r"(?<![\w:.,/])\d{1,2}(?::[0-5]\d){1,2}(?![\w:]|[.,/]\d)"
_TIMES = re.compile(rf"{_TIME}(?:\s?-\s?{_TIME})?")
_TRACK_LIST_LINE = re.compile(
    rf"^[^\w\n]*(?:\d{{1,3}}[.)] ?)?[(\[]?{_TIME}.*$|^(?=\D*\d{{1,3}}[.)] ).*{_TIME}[)\]]?$", re.MULTILINE
)


def remove_times(text: str, context: TextContext) -> list[str]:
    """Removes positions such as ``0:45`` and ``1:02:03``; of several lines, the whole lines of a track list."""
    if ":" not in text:
        return [text]
    if "\n" in text:
        text = without(_TRACK_LIST_LINE, text, "")
    return [without(_TIMES, text)]
