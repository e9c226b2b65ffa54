"""The rules of short-form and long-form texts, in the order in which they are applied."""

from collections.abc import Mapping
from types import MappingProxyType

from mulan.preparation.texts.limits import limit_length, limit_letters
from mulan.preparation.texts.promotion import remove_promotion
from mulan.preparation.texts.references import remove_handles, remove_times, remove_urls, unfold_hashtags
from mulan.preparation.texts.rule import Rule
from mulan.preparation.texts.sentences import split_sentences
from mulan.preparation.texts.spelling import normalize, remove_emoji, shorten_ornaments
from mulan.preparation.texts.titles import (
    remove_artist,
    remove_boilerplate,
    remove_brackets,
    remove_featured,
    split_title,
)

_NORMALIZE = Rule("normalize", "Unicode in NFKC, one kind of white space, no HTML", normalize)
_URLS = Rule("urls", "no addresses of web pages and e-mail", remove_urls)
_HASHTAGS = Rule("hashtags", "hashtags as words, none about a site", unfold_hashtags)
_HANDLES = Rule("handles", "no handles such as @name", remove_handles)
_TIMES = Rule("times", "no positions such as 0:45, no lines of track lists", remove_times)
_EMOJI = Rule("emoji", "no emoji and pictographic symbols", remove_emoji)
_ORNAMENTS = Rule("ornaments", "no lines of equal signs, no repeated exclamation marks", shorten_ornaments)
_PROMOTION = Rule(
    "promotion", "no requests to subscribe, follow, buy or download, no notices of rights", remove_promotion
)
_LENGTH = Rule(
    "length",
    "at least two letters, and at most text.short_form_max_words or text.long_form_max_words words",
    limit_length,
)
_LETTERS = Rule("letters", "at least 20 % letters, none repeated more than four times", limit_letters)

SHORT_FORM: tuple[Rule, ...] = (
    _NORMALIZE,
    _PROMOTION,
    _URLS,
    _HASHTAGS,
    _HANDLES,
    _TIMES,
    _EMOJI,
    _ORNAMENTS,
    Rule("brackets", "no brackets about the video, the release or the performance", remove_brackets),
    Rule("boilerplate", "no words about the video beside a title or as the whole text", remove_boilerplate),
    Rule("featured", "no featured artists and producers", remove_featured),
    Rule("artist", "no name of the recording's artist or channel", remove_artist),
    Rule("split", '"A - B" of an unknown artist as two texts', split_title),
    _LENGTH,
    _LETTERS,
)
"""The rules of titles, tags and other short texts, and of titles of playlists."""

LONG_FORM: tuple[Rule, ...] = (
    _NORMALIZE,
    _PROMOTION,
    _URLS,
    _HASHTAGS,
    _HANDLES,
    _TIMES,
    _EMOJI,
    _ORNAMENTS,
    Rule("sentences", "too long texts, or all, as sentences", split_sentences),
    _LENGTH,
    _LETTERS,
)
"""The rules of captions, descriptions and comments."""

SCRIPT = "script"
LANGUAGES = "languages"
CHANNEL = "channel"
REPEATS = "repeats"

FURTHER_RULES: Mapping[str, str] = MappingProxyType(
    {
        SCRIPT: "at least 80 % Latin letters, if text.languages has only languages that are written in them",
        LANGUAGES: "no texts of more than four words that are clearly in none of text.languages",
        CHANNEL: "no texts that more than text.max_channel_repeats recordings of the channel have",
        REPEATS: "no text twice in a recording and source, whatever its case",
    }
)
"""The rules that depend on settings or on other texts, in their order, after the others."""

RULE_NAMES: tuple[str, ...] = tuple(dict.fromkeys([*(rule.name for rule in (*SHORT_FORM, *LONG_FORM)), *FURTHER_RULES]))
"""The names of all rules, each of which ``text.off`` may contain."""
