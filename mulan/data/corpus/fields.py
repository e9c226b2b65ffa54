"""Texts, tags and other facts of a recording from named fields: columns of a table, or the values of a JSON object."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from mulan.config.parsing import parse_json
from mulan.config.sections import STORED_SOURCES, StoredSource
from mulan.data.corpus.metadata import SPLITS, UNNAMED_CATEGORY
from mulan.data.errors import BadRecording
from mulan.data.text import is_blank, is_unicode

DEFAULT_TEXTS: Mapping[StoredSource, tuple[str, ...]] = MappingProxyType(
    {
        "short_form": ("short_form", "title", "keyword", "keywords", "aspect_list"),
        "long_form": (
            *("long_form", "text", "caption", "captions", "caption[0-9]*", "caption_[0-9]*"),
            *("description", "descriptions", "txt"),
        ),
        "playlist": ("playlist", "playlists", "playlist_title", "playlist_titles"),
        "audioset": ("audioset",),
        "short_form_unfiltered": ("short_form_unfiltered",),
        "long_form_unfiltered": ("long_form_unfiltered",),
    }
)
"""Patterns of the names of the fields with texts of each source, besides mulan's own ``texts.SOURCE``."""

DEFAULT_TAGS = ("tag", "tags", "cls", "genre", "genres", "mood", "moods", "instrument", "instruments")
"""Patterns of the names of the fields with tags."""

_CATEGORIES = {
    "tags": UNNAMED_CATEGORY,
    "genres": "genre",
    "moods": "mood",
    "instruments": "instrument",
    "cls": "class",
}
"""Categories of tags in fields that are named in the plural, and of WebDataset's classes; those of other fields are the
names of the fields."""

_LISTS = frozenset({"keyword", "keywords", "aspect_list", "playlists", "playlist_titles"})
"""Names of fields whose string is a list of texts, with the separators of tags."""

_SCALARS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "recording_id": ("recording_id", "id"),
        "title": ("title",),
        "artist": ("artist", "artists", "artist_name", "artist_id"),
        "channel": ("channel", "album"),
        "provenance": ("provenance",),
        "licence": ("licence", "license"),
        "split": ("split",),
        "start_s": ("start_s",),
        "end_s": ("end_s",),
    }
)
"""Names of the fields with one text or number each; the first one that has a value is used."""

_SPLITS = {name: name for name in SPLITS} | {
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
    **dict.fromkeys(("eval", "evaluation", "testing"), "test"),
}

_SEPARATORS = re.compile(r"[;|\0\n]")
"""What separates tags in a string. Commas do not: AudioSet's labels, such as "Violin, fiddle", contain them."""

_CATEGORY = re.compile(r"([A-Za-z_][\w/-]*)\s*:\s*(?=\S)")
_MAX_LITERAL = 100_000
"""Maximum length in characters of a string that is read as a list."""


@dataclass(frozen=True)
class Fields:
    """The names of the fields with texts and tags. Names are patterns as of :mod:`fnmatch`, in any case of letters.

    A field of a nested object is named with dots: ``meta.caption``.
    """

    texts: Mapping[StoredSource, tuple[str, ...]] = field(default_factory=dict)
    """Patterns by text source; empty for :data:`DEFAULT_TEXTS` and mulan's own ``texts.SOURCE``."""
    tags: tuple[str, ...] = ()
    """Patterns of the fields with tags; empty for :data:`DEFAULT_TAGS`."""

    def to_json(self) -> str:
        """Returns the names as a JSON object, which :meth:`from_json` reads."""
        return json.dumps({"texts": dict(self.texts), "tags": self.tags}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Fields":
        """Returns the names from a JSON object.

        Raises:
            ValueError: The text is not such an object, or names an unknown text source.
        """
        stored = parse_json(text)
        try:
            texts = {source: _patterns(patterns) for source, patterns in stored["texts"].items()}
            fields = cls(texts, _patterns(stored["tags"]))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the names of fields: {text:.200}") from error
        unknown = [source for source in texts if source not in STORED_SOURCES]
        if unknown:
            raise ValueError(f"unknown text sources: {', '.join(unknown)}")
        return fields

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the patterns that match none of the names of all fields; default patterns need not match."""
        lowered = [name.lower() for name in names]
        patterns = [pattern for group in (*self.texts.values(), self.tags) for pattern in group]
        return [pattern for pattern in patterns if not any(_matches(name, pattern) for name in lowered)]


@dataclass(frozen=True, kw_only=True)
class RecordingFields:
    """What the fields of a recording say about it. Everything may be missing: then it is empty or None."""

    texts: Mapping[StoredSource, tuple[str, ...]] = field(default_factory=dict)
    """Texts by source, unfiltered, each once, without blank ones; sources without texts are left out."""
    tags: tuple[str, ...] = ()
    """Tags as ``category:text``, each once."""
    split: str = ""
    """``train``, ``validation``, ``test`` or empty."""
    recording_id: str = ""
    title: str = ""
    artist: str = ""
    channel: str = ""
    """What published the recording, such as an album."""
    provenance: str = ""
    licence: str = ""
    start_s: float | None = None
    """Start of the described part in seconds."""
    end_s: float | None = None
    """End of the described part in seconds."""


def map_fields(values: Mapping[str, Any], fields: Fields = Fields()) -> RecordingFields:
    """Returns what the fields of a recording say about it.

    Text fields hold a string, a number, or a list of them; a string that is a list in JSON or Python is read as one.
    The tags of a string are separated by ``;``, ``|`` or new lines, and get the name of their field as category, unless
    they begin with one: ``genre`` = ``"jazz; mood:calm"`` gives ``genre:jazz`` and ``mood:calm``. None and NaN are
    missing values. Fields without a meaning are ignored, whatever their type.

    Args:
        values: Values by name, of any type; objects may be nested.
        fields: Names of the fields with texts and tags.

    Raises:
        BadRecording: A field with a meaning is of another type, or the split or a source of ``texts`` is unknown.
    """
    flat = flattened(values)
    roles = _roles(tuple(flat), tuple(fields.texts.items()), fields.tags)
    if roles.unknown_source:
        known = ", ".join(STORED_SOURCES)
        raise BadRecording("unknown text source", f"{roles.unknown_source:.80}: the sources are {known}")
    scalars = {role: _first_text(flat, names) for role, names in roles.scalars}
    return RecordingFields(
        texts=_texts(flat, roles),
        tags=_tags(flat, roles),
        split=split_name(scalars.pop("split", "")),
        start_s=_seconds("start_s", scalars.pop("start_s", "")),
        end_s=_seconds("end_s", scalars.pop("end_s", "")),
        **scalars,
    )


def split_name(text: str) -> str:
    """Returns the name of a split from one of its usual names, such as ``dev``; the empty string for itself.

    Raises:
        BadRecording: The name is unknown.
    """
    name = text.strip().lower()
    if name and name not in _SPLITS:
        raise BadRecording("unknown split", f"split is {text!r:.80}, not one of {', '.join(_SPLITS)}")
    return _SPLITS[name] if name else ""


def flattened(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the values with the dotted names of nested ones, without recursion, as input may be deeply nested."""
    if not any(isinstance(value, dict) for value in values.values()):
        return values
    flat: dict[str, Any] = {}
    stack = [("", values)]
    while stack:
        prefix, mapping = stack.pop()
        for name, value in mapping.items():
            if isinstance(value, dict):
                stack.append((f"{prefix}{name}.", value))
            else:
                flat.setdefault(f"{prefix}{name}", value)
    return flat


def _patterns(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of names")
    return tuple(values)


def _matches(lowered_name: str, pattern: str) -> bool:
    lowered = pattern.lower()
    return lowered_name == lowered or fnmatchcase(lowered_name, lowered)


@dataclass(frozen=True)
class _Roles:
    """What fields with given names mean."""

    texts: tuple[tuple[StoredSource, tuple[str, ...]], ...]
    """Names of the fields with texts of each source."""
    tags: tuple[str, ...]
    """Names of the fields with tags."""
    scalars: tuple[tuple[str, tuple[str, ...]], ...]
    """Names of the fields with each single text, in the order in which they are looked at."""
    unknown_source: str
    """Name of a field of mulan's own with texts of an unknown source; empty if there is none."""


@lru_cache(maxsize=4096)  # the rows of a table have the same names, and most objects do
def _roles(
    names: tuple[str, ...], texts: tuple[tuple[StoredSource, tuple[str, ...]], ...], tags: tuple[str, ...]
) -> _Roles:
    """Returns the roles of fields by their names; the patterns are those of :class:`Fields`."""
    unknown = [name for name in names if name.startswith("texts.") and name[6:] not in STORED_SOURCES]
    patterns = texts or tuple((source, (f"texts.{source}", *usual)) for source, usual in DEFAULT_TEXTS.items())
    lowered = {name.lower(): name for name in reversed(names)}  # of names that differ only in case, the first
    scalars = {role: tuple(lowered[name] for name in usual if name in lowered) for role, usual in _SCALARS.items()}
    return _Roles(
        texts=tuple((source, found) for source, group in patterns if (found := _named(names, group))),
        tags=_named(names, tags or DEFAULT_TAGS),
        scalars=tuple((role, found) for role, found in scalars.items() if found),
        unknown_source=unknown[0] if unknown and not texts else "",
    )


def _named(names: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names that match patterns, in the order of the patterns, then of the names."""
    return tuple(name for pattern in patterns for name in names if _matches(name.lower(), pattern))


def _texts(flat: Mapping[str, Any], roles: _Roles) -> dict[StoredSource, tuple[str, ...]]:
    texts = {}
    for source, names in roles.texts:
        found = [text for name in names for text in _items(name, flat[name], name.lower() in _LISTS)]
        if found:
            texts[source] = tuple(dict.fromkeys(found))
    return texts


def _tags(flat: Mapping[str, Any], roles: _Roles) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for name in roles.tags:
        last = name.rpartition(".")[2].lower()
        for text in _items(name, flat[name], separated=True):
            tag = as_tag(_CATEGORIES.get(last, last), text)
            if tag:
                tags[tag] = None
    return tuple(tags)


def as_tag(category: str, text: str) -> str:
    """Returns ``category:text``, with the category with which the text begins, if any; empty if no text is left."""
    match = _CATEGORY.match(text.strip())
    if match:
        category, text = match[1], text.strip()[match.end() :]
    text = text.strip(" \t:")  # the last part of a tag is its text, which is not blank
    return "" if is_blank(text) else f"{category}:{text}"


def _items(name: str, value: Any, separated: bool) -> list[str]:
    """Returns the texts of a field, without blank ones.

    Args:
        separated: Whether a string may contain several.

    Raises:
        BadRecording: The value is neither a string, a number, nor a list of them.
    """
    if isinstance(value, str):
        listed = _literal_list(value)
        if listed is not None:
            value = listed
        elif separated:
            value = [part.strip() for part in _SEPARATORS.split(value)]
    items = list(value) if isinstance(value, list | tuple) else [value]
    texts = [_text(name, item) for item in items]
    return [text for text in texts if not is_blank(text)]


def _literal_list(text: str) -> list[str] | None:
    """Returns the strings of a list in JSON or Python, as spreadsheets of data sets contain them; None for others."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")) or len(stripped) > _MAX_LITERAL:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            values = read(stripped)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return values if isinstance(values, list) and all(isinstance(value, str) for value in values) else None
    return None


def _text(name: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):  # JSON permits half of an emoji, where a program has cut a text
        return value if is_unicode(value) else value.encode(errors="replace").decode()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadRecording("field of the wrong type", f"{name:.80} is {value!r:.80}, neither a text nor a list of texts")


def _first_text(flat: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        texts = _items(name, flat[name], separated=False)
        if texts:
            return ", ".join(texts).strip()
    return ""


def _seconds(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadRecording("field of the wrong type", f"{name} is {text!r:.80}, not a time in seconds")
    return seconds
