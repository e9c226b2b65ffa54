"""Rules for titles: brackets and endings that describe a video, featured artists, and the artist of the recording."""

import re
from functools import lru_cache

from mulan.preparation.texts.rule import TextContext, tidied, without, words

_OF_VIDEOS = words(
    "official officiel officielle oficial offizielles offiziell ufficiale video videos videoclip clip vídeo lyric "
    "lyrics lyrical letra letras legendado legendada paroles testo sub subs subtitle subtitles subtitulado subtitulada "
    "subtitled audio hd hq uhd fhd 4k 8k 480p 720p 1080p 1440p 2160p 60fps 50fps mv pv amv visualizer visualiser "
    "teaser trailer premiere reupload upload vevo topic 공식 뮤직비디오 가사 公式 官方 歌詞 歌词 "
    "高音質 动态歌词 動態歌詞 клип"
)
"""Words about a video. A text that consists of them and of :data:`_NEUTRAL` says nothing about the music."""
_OF_RELEASES = words("remaster remasters remastered remasterizado explicit deluxe bonus live")
"""Words about a release or a performance, which are removed beside a title, and stay where they are the whole text."""
_NEUTRAL = words(
    "music musical version versión versione versão edition the in with w and & new full original stereo track song "
    "album single session sessions performance quality high on screen en con de com avec mit und et e y a digital "
    "digitally english eng español"
)
_WORD = re.compile(r"\w+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_LIVE_AT = re.compile(r"\s*(?:recorded )?live\s+(?:at|from|in|on|@)\b", re.IGNORECASE)

_BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|\{([^{}]*)\}|【([^【】]*)】")


def _is_beside_a_title(text: str) -> bool:
    """Returns whether a part of a title is about the video or the release: ``Official Video``, ``Live at Wembley``."""
    found = _WORD.findall(text.casefold().replace("m/v", "mv"))
    about = _OF_VIDEOS | _OF_RELEASES
    if all(word in about or word in _NEUTRAL or word.isdecimal() for word in found):
        return any(word in about for word in found) or not text.strip() or bool(_YEAR.fullmatch(text.strip()))
    return _LIVE_AT.match(text) is not None


def _is_about_a_video(text: str) -> bool:
    """Returns whether a whole text is about the video only: ``official video``, but not ``live``."""
    found = _WORD.findall(text.casefold().replace("m/v", "mv"))
    return all(word in _OF_VIDEOS or word in _NEUTRAL for word in found) and any(word in _OF_VIDEOS for word in found)


def remove_brackets(text: str, context: TextContext) -> list[str]:
    """Removes brackets such as ``(Official Video)``, ``[Lyrics]``, ``(2011 Remaster)`` and ``(Live at Wembley)``.

    Brackets with any other word stay: ``(Acoustic Version)``, ``(Piano Cover)``, ``(Jazz Remix)``.
    """

    def kept(brackets: re.Match[str]) -> str:
        content = next(group for group in brackets.groups() if group is not None)
        return " " if _is_beside_a_title(content) else brackets[0]

    replaced = _BRACKETS.sub(kept, text)
    return [text if replaced == text else tidied(replaced)]


_SEPARATOR = re.compile(r"((?:(?<!\s)\s+)?(?:(?<=\s)[-•·~/](?=\s)|[|•]|//)\s*)")
"""What separates the parts of a title. It begins at the first blank only: a search stays linear in runs of blanks."""
_ENDING = re.compile(
    r"(?<=\S)\s+(?:"
    r"(?:the )?(?:official|officiel|oficial|ufficiale)(?: (?:music|lyrics?|hd|4k|audio|live))*"
    r" (?:video\w*|audio|clip|visuali[sz]er|mv|m/v|trailer|teaser)"
    r"|(?:videoclip|v[ií]deo|clip|audio) (?:oficial|officiel|ufficiale)"
    r"|(?:lyrics?|music) video|(?:with|w/) lyrics|m/?v|hd|hq|4k|1080p"
    r")(?: (?:hd|hq|4k|1080p))*$",
    re.IGNORECASE,
)


def remove_boilerplate(text: str, context: TextContext) -> list[str]:
    """Removes words about the video: whole texts, parts after a separator, and endings without one.

    ``Song - Official Video``, ``Song | Live at Wembley`` and ``Song Official Music Video HD`` become ``Song``. A text
    that is only ``live``, ``cover`` or ``remix`` stays.
    """
    first, *rest = _SEPARATOR.split(text)
    kept = [] if _is_about_a_video(first) else [_ENDING.sub("", first)]
    for separator, part in zip(rest[::2], rest[1::2], strict=True):
        if not _is_beside_a_title(part):
            kept += [separator, _ENDING.sub("", part)]
    joined = "".join(kept)
    return [text if joined == text else tidied(joined)]


_FEATURED_IN_BRACKETS = re.compile(
    r"[(\[]\s*(?:feat|ft|featuring|prod|produced by|starring)\b[^()\[\]]*[)\]]", re.IGNORECASE
)
_UNTIL = r"[^()\[\]|\n]*?(?=(?<!\s)(?:\s+[-|•]\s|\s*[()\[\]|\n])|$)"
_NO_LENGTH = r"(?<!\d)(?<!\b\d )(?<!\b\d\d )(?<!\b\d\d\d )"
"""What precedes ``ft`` where it does not mean feet; a year may precede it."""
_FEATURED = re.compile(rf"{_NO_LENGTH}\b(?:(?i:feat|ft)(?:\.\s*|\s+)(?=[^\W_])|featuring\s+(?=[A-Z])){_UNTIL}")
_PRODUCED = re.compile(rf"\b(?i:prod\.?\s+by|produced by)\s+{_UNTIL}")


def remove_featured(text: str, context: TextContext) -> list[str]:
    """Removes featured artists and producers, up to a bracket or separator: ``feat. X``, ``prod. by X``.

    ``featuring`` counts only in brackets or before a capital letter: "a trio featuring saxophone" describes music.
    """
    return [without(_PRODUCED, without(_FEATURED, without(_FEATURED_IN_BRACKETS, text)))]


_CHANNEL_ENDING = re.compile(r"(?: - topic|\s*vevo|\s+official|\s+(?:music )?channel)$", re.IGNORECASE)
_MAX_NAME = 100


@lru_cache(maxsize=4096)
def _patterns(name: str, *, is_artist: bool) -> tuple[re.Pattern[str], ...]:
    """Returns patterns of an artist's name together with what separates it from a title."""
    parts = _WORD.findall(name[:_MAX_NAME])
    if not parts:
        return ()
    written = r"(?<!\w)" + r"\W+".join(map(re.escape, parts)) + r"(?!\w)"
    found = [rf"^{written}[.!?]?(?:\s*[-:|~•]\s+|\s+(?=[\"'「『]))", rf"(?<!\s)\s+(?:[-|~•]\s+|by\s+){written}[.!?]?$"]
    if is_artist:
        found.append(rf"^{written}[.!?]?$")
        if len(parts) > 1:
            found.append(rf"^{written}\s+(?=\w)")
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in found)


def remove_artist(text: str, context: TextContext) -> list[str]:
    """Removes the name of the recording's artist or channel from a title.

    Of ``A - B``, ``A: B``, ``A "B"``, ``B - A`` and ``B by A`` by the artist or channel A, B remains; also of ``A B``
    if the artist's name has several words, since "Queen of the Night" may be by Queen. The name alone is removed if it
    is the artist's.
    """
    channel = _CHANNEL_ENDING.sub("", context.channel)
    for name, is_artist in ((context.artist, True), (channel, False)):
        for pattern in _patterns(name, is_artist=is_artist) if name else ():
            text = without(pattern, text)
    return [text]


_DASH = re.compile(r"\s-\s")


def split_title(text: str, context: TextContext) -> list[str]:
    """Splits ``A - B`` into two texts where the artist is unknown, since either may be the title."""
    if context.artist:
        return [text]
    parts = _DASH.split(text)
    is_title = len(parts) == 2 and all(sum(map(str.isalpha, part)) > 1 for part in parts)
    return [part.strip() for part in parts] if is_title else [text]
