"""Validation of the metadata of recordings, both when a corpus is written or adopted and when it is read."""

import difflib
import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from mulan.config.sections import STORED_SOURCES
from mulan.data.errors import BadRecording
from mulan.data.text import is_blank, is_unicode

SPLITS = ("train", "validation", "test")

UNNAMED_CATEGORY = "tag"
"""Category of tags that name none."""


def split_tag(tag: str) -> tuple[str, str]:
    """Splits a tag into category and text: ``"genre:hard rock"`` gives ``("genre", "hard rock")``."""
    category, colon, text = tag.partition(":")
    return (category, text) if colon else (UNNAMED_CATEGORY, tag)


def readable_texts(field: str, texts: Any) -> list[str]:
    """Returns the non-blank texts of a field.

    Args:
        field: Name of the field of the metadata, for messages.
        texts: Value of the field.

    Raises:
        BadRecording: All texts are blank, one is not Unicode, or the value is not a list of strings.
    """
    if not (isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)):
        raise BadRecording("text of the wrong type", f"{field} is {texts!r:.80}, not a list of strings")
    if not all(map(is_unicode, texts)):
        raise BadRecording("text not Unicode", f"{field} has a lone surrogate: {texts!r:.80}")
    readable = [text for text in texts if not is_blank(text)]
    if not readable:
        raise BadRecording("empty text", f"{field} is blank: {texts!r:.80}")
    return readable


def texts_of(metadata: Mapping[str, Any], source: str) -> list[str]:
    """Returns the non-blank texts of a source from a recording's metadata, of ``tags`` without their category.

    Raises:
        BadRecording: As in :func:`readable_texts`, or ``texts`` does not map sources to lists.
    """
    if source == "tags":
        tags = readable_texts("tags", metadata.get("tags", []))
        return readable_texts("tags", [split_tag(tag)[1] for tag in tags])
    texts = metadata.get("texts", {})
    if not isinstance(texts, Mapping):
        raise BadRecording("text of the wrong type", f"texts is {texts!r:.80}, not lists by source")
    return readable_texts(f"texts.{source}", texts.get(source, []))


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Checks the metadata of a recording.

    Args:
        metadata: Content of the recording's JSON, including its duration.

    Raises:
        BadRecording: The metadata are invalid; lists all faults.
    """
    faults = [
        *_text_faults(metadata.get("texts")),
        *_tag_faults(metadata.get("tags", [])),
        *_scalar_faults(metadata),
    ]
    if faults:
        raise BadRecording("unusable metadata", "; ".join(faults))


def _text_faults(texts: Any) -> Iterator[str]:
    if not isinstance(texts, Mapping):
        yield f"texts is {texts!r:.80}, not lists of strings by source"
        return
    for source, values in texts.items():
        if source not in STORED_SOURCES:
            yield f"texts.{source!s:.80} is not a text source; {_hint(source)}"
        elif values != [] and values != ():  # an empty source is equivalent to a missing one
            try:
                readable_texts(f"texts.{source}", values)
            except BadRecording as error:
                yield error.detail


def _hint(source: Any) -> str:
    if source == "tags":
        return "give tags beside texts, as the field tags"
    near = difflib.get_close_matches(str(source), STORED_SOURCES, n=1)
    return f"did you mean {near[0]}?" if near else f"the sources are {', '.join(STORED_SOURCES)}"


def _tag_faults(tags: Any) -> Iterator[str]:
    if not (isinstance(tags, list | tuple) and all(isinstance(tag, str) for tag in tags)):
        yield f"tags is {tags!r:.80}, not a list of strings"
    elif not all(map(is_unicode, tags)):
        yield f"tags has a lone surrogate: {tags!r:.80}"
    elif any(is_blank(tag.rpartition(":")[2]) for tag in tags):
        yield f"tags has one without text: {tags!r:.80}"


def _scalar_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    split, duration_s = metadata.get("split", "train"), metadata.get("duration_s")
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1)
        yield f"split is {split!r:.80}, not one of {', '.join(SPLITS)}" + (f"; did you mean {near[0]}?" if near else "")
    if not _is_valid_duration(duration_s):
        yield f"duration_s is {duration_s!r:.80}, not a positive number of seconds"
    for name in ("provenance", "licence"):
        value = metadata.get(name, "")
        if name in metadata and not (isinstance(value, str) and is_unicode(value)):
            yield f"{name} is {value!r:.80}, not Unicode text"


def _is_valid_duration(duration_s: Any) -> bool:
    if not isinstance(duration_s, Real) or isinstance(duration_s, bool):
        return False
    try:
        return 0 < float(duration_s) < math.inf
    except OverflowError:  # a JSON integer may have hundreds of digits
        return False
