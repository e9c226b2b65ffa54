"""Queries with the recordings that the first model found, to read and to hear."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.score_names import SECTION_TITLES
from mulan.evaluation.report.sounds import MEDIA_TYPE, Excerpts, HeardRecording
from mulan.evaluation.report.summary import section_of
from mulan.pages.rendering import data_uri

_MAX_TAGS = 12
"""Maximum number of tags of a recording that are shown."""


@dataclass(frozen=True)
class HitView:
    """A recording that a query found, as it is shown."""

    recording_id: str
    """Id of the recording."""
    title: str
    """Title; empty if unknown."""
    similarity: float
    """Cosine similarity of recording and query."""
    is_relevant: bool
    """Whether it belongs to the query."""
    tags: str
    """Tags in words."""
    sound: int
    """Number of its excerpt in the page; 0 if it has none."""
    uri: str
    """Content of the excerpt; empty if the page has it before."""
    missing: str
    """Why it has no excerpt."""


@dataclass(frozen=True)
class QueryView:
    """A query as it is shown."""

    text: str
    """Text of the query."""
    rank: int
    """Rank of its best recording, from 1 on."""
    num_relevant: int
    """Number of recordings that belong to the query."""
    hits: tuple[HitView, ...]
    """What was found, by falling similarity."""


@dataclass(frozen=True)
class ExampleSet:
    """The queries of a set."""

    title: str
    """Section and name of the set."""
    num_recordings: int | None
    """Number of recordings that were searched; None if it is not stated."""
    queries: tuple[QueryView, ...]
    """The queries."""


def heard_recordings(summary: Mapping[str, Any]) -> list[HeardRecording]:
    """Returns the recordings in the examples of a report; the first hits of all queries come first.

    Args:
        summary: Content of ``report.json``.
    """
    found = [
        [HeardRecording(section, name, hit["recording"]) for hit in example["hits"]]
        for section, name, details, _ in _sets(summary)
        for example in details["examples"]
    ]
    return list(dict.fromkeys(each for same_place in zip_longest(*found) for each in same_place if each is not None))


def example_sets(summary: Mapping[str, Any], excerpts: Excerpts) -> list[ExampleSet]:
    """Returns the queries of each set of the first model whose details have ``examples``.

    Args:
        summary: Content of ``report.json``.
        excerpts: Sounds of :func:`heard_recordings`; equal ones are in the page once.
    """
    numbers: dict[str, int] = {}

    def view(section: str, name: str, hit: Mapping[str, Any]) -> HitView:
        heard = HeardRecording(section, name, hit["recording"])
        mp3 = excerpts.mp3.get(heard)
        sound, uri = 0, ""
        if mp3 is not None:
            digest = hashlib.sha256(mp3).hexdigest()
            uri = "" if digest in numbers else data_uri(mp3, MEDIA_TYPE)
            sound = numbers.setdefault(digest, len(numbers) + 1)
        return HitView(
            recording_id=heard.recording_id,
            title=hit["title"],
            similarity=hit["score"],
            is_relevant=hit["relevant"],
            tags=shown_tags(hit["tags"]),
            sound=sound,
            uri=uri,
            missing=excerpts.missing.get(heard, ""),
        )

    return [
        ExampleSet(
            title=f"{SECTION_TITLES[section]}: {name}",
            num_recordings=counts.get("recordings"),
            queries=tuple(
                QueryView(
                    example["query"],
                    example["rank"],
                    example["relevant"],
                    tuple(view(section, name, hit) for hit in example["hits"]),
                )
                for example in details["examples"]
            ),
        )
        for section, name, details, counts in _sets(summary)
    ]


def _sets(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, int]]]:
    for section in SECTIONS:
        for name, found in section_of(summary, section).items():
            if found["details"].get("examples"):
                yield section, name, found["details"], found["counts"]


def shown_tags(tags: Sequence[str]) -> str:
    """Returns tags in words, ``category:text`` without the category; of many, the first ones."""
    more = f" and {len(tags) - _MAX_TAGS} more" if len(tags) > _MAX_TAGS else ""
    return ", ".join(split_tag(tag)[1] for tag in tags[:_MAX_TAGS]) + more
