"""The page of the search server: the search box, what a search has found, and the map of the collection.

The page works without scripts; ``static/page.js`` and the modules beside it add the player, the search by sound and the
map.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from mulan.pages.rendering import Filters, render
from mulan.search.overview import TagCount
from mulan.serving.parameters import UNSHOWN
from mulan.serving.schema import Collection, Fault, Hit, Hits
from mulan.serving.settings import MAX_CHARACTERS, MAX_UPLOAD_BYTES

_BLANK = Hit(
    recording_id="", title="", artist="", duration_s=0, tags=[], waveform=[], audio="", offset_s=0, score=0, start_s=0
)
"""The recording of the template from which the script makes others."""


@dataclass(frozen=True)
class ShownQuery:
    """What is searched for, as the fields of the page's form state it."""

    texts: tuple[str, ...] = ()
    """Descriptions of what is wanted."""
    unwanted: tuple[str, ...] = ()
    """Descriptions of what is not wanted."""
    like: str = ""
    """Id of a recording that what is found should be like; empty for none."""
    like_title: str = ""
    """Title of that recording; if empty, its id is shown."""
    tags: tuple[str, ...] = ()
    """Tags that a recording must have."""
    sound: str = ""
    """File name of the sound that what is found should be like; empty for none."""
    unshown: Mapping[str, str] = field(default_factory=dict)
    """Other parameters of the search by their names, which the form keeps."""

    @property
    def ranks(self) -> bool:
        """Whether recordings match it more or less well; tags alone only choose them."""
        return bool(self.texts or self.unwanted or self.like or self.sound)


def render_page(collection: Collection, query: ShownQuery, outcome: Hits | Fault | None) -> str:
    """Renders the page.

    Args:
        collection: The collection that is searched.
        query: The query, which the form shows.
        outcome: What the search has found, or why it failed; None before the first search.
    """
    return render(
        "mulan.serving",
        "page.html",
        _FILTERS,
        **_values(collection, query, outcome),
        categories=categories(collection.tags, query.tags),
        blank=_BLANK,
        max_sound_bytes=MAX_UPLOAD_BYTES,
        max_characters=MAX_CHARACTERS,
        unshown=UNSHOWN,
    )


def render_results(collection: Collection, query: ShownQuery, outcome: Hits | Fault | None) -> str:
    """Renders the part of the page that a search replaces; the arguments are those of :func:`render_page`."""
    return render("mulan.serving", "results.html", _FILTERS, **_values(collection, query, outcome))


def _values(collection: Collection, query: ShownQuery, outcome: Hits | Fault | None) -> dict[str, Any]:
    return {
        "collection": collection,
        "query": query,
        "heading": heading(query),
        "hits": outcome.hits if isinstance(outcome, Hits) else None,
        "fault": outcome.detail if isinstance(outcome, Fault) else "",
    }


def heading(query: ShownQuery) -> str:
    """Returns what is searched for, in words; empty if nothing is.

    >>> heading(ShownQuery(texts=("calm piano",), unwanted=("drums",), tags=("genre:jazz",)))
    '“calm piano”, but not “drums”'
    """
    wanted = [f"“{text}”" for text in query.texts]
    if query.like:
        wanted.append(f"{'like' if wanted else 'More like'} “{query.like_title or query.like}”")
    if query.sound:
        wanted.append(f"{'like' if wanted else 'Like'} the sound “{query.sound}”")
    words = " and ".join(wanted)
    if query.unwanted:
        unwanted = " or ".join(f"“{text}”" for text in query.unwanted)
        words += f", but not {unwanted}" if words else f"Not {unwanted}"
    return words or ("Recordings with chosen tags" if query.tags else "")


def address(query: ShownQuery) -> str:
    """Returns the address of the page that shows a query, which is that of its form; a sound has none.

    >>> address(ShownQuery(texts=("a & b",), tags=("genre:jazz",)))
    '/?q=a+%26+b&tag=genre%3Ajazz'
    """
    fields = [
        *(("q", text) for text in query.texts),
        *(("not", text) for text in query.unwanted),
        *([("like", query.like)] if query.like else []),
        *(("tag", tag) for tag in query.tags),
        *query.unshown.items(),
    ]
    # an address cannot contain lone surrogates: they are written as the page itself writes them
    return f"/?{urlencode(fields, errors='backslashreplace')}"


def categories(counts: Sequence[TagCount], chosen: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Returns tags with their numbers of recordings by category; chosen tags that have not been counted have 0."""
    numbers = {count.tag: count.recordings for count in counts}
    grouped: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for tag in dict.fromkeys([*numbers, *chosen]):
        grouped[_category(tag)].append((tag, numbers.get(tag, 0)))
    return dict(grouped)


def clock(seconds: float) -> str:
    """Returns a duration or a moment as on a clock.

    >>> clock(5), clock(3725)
    ('0:05', '1:02:05')
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _category(tag: str) -> str:
    return tag.partition(":")[0] if ":" in tag else ""


def _text(tag: str) -> str:
    return tag.partition(":")[2] if ":" in tag else tag


def _label(tag: str) -> str:
    return f"{_category(tag)}: {_text(tag)}" if ":" in tag else tag


_FILTERS: Filters = {
    "address": address,
    "clock": clock,
    "label": _label,
    "text": _text,
    "count": lambda number: f"{number:,}",
    "example": lambda text: address(ShownQuery(texts=(text,))),
    "like": lambda query, hit: ShownQuery(like=hit.recording_id, tags=query.tags, unshown=query.unshown),
    "unlike": lambda query: replace(query, like=""),
    "with_tag": lambda query, tag: replace(query, tags=tuple(dict.fromkeys([*query.tags, tag]))),
    "without_tag": lambda query, tag: replace(query, tags=tuple(each for each in query.tags if each != tag)),
}
