"""What the metadata of a recording must be: demanded when a corpus is written or adopted, so that it can be read."""

import difflib
import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from mulan.config.sections import SOURCES
from mulan.data.errors import BadRecording
from mulan.data.text import is_blank, is_unicode

SPLITS = ("train", "validation", "test")


def readable_texts(source: str, found: Any) -> list[str]:
    """The texts of a source, less those in which there is nothing to read.

    Args:
        source: its name, for messages.
        found: what the metadata has there.

    Raises:
        BadRecording: no text is left, one is not Unicode, or it is not a list of strings.
    """
    if not (isinstance(found, list | tuple) and all(isinstance(text, str) for text in found)):
        raise BadRecording("text of the wrong type", f"texts.{source} is {found!r:.80}, not a list of strings")
    if not all(map(is_unicode, found)):
        raise BadRecording("text not Unicode", f"texts.{source} has half of a surrogate pair: {found!r:.80}")
    readable = [text for text in found if not is_blank(text)]
    if not readable:
        raise BadRecording("empty text", f"there is nothing to read in texts.{source}: {found!r:.80}")
    return readable


def texts_of(metadata: Mapping[str, Any], source: str) -> list[str]:
    """The readable texts of a source of a recording.

    Raises:
        BadRecording: as :func:`readable_texts`, and where ``texts`` are not lists by source.
    """
    texts = metadata.get("texts", {})
    if not isinstance(texts, Mapping):
        raise BadRecording("text of the wrong type", f"texts is {texts!r:.80}, not lists by source")
    return readable_texts(source, texts.get(source, []))


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Makes sure that a recording's metadata can be used.

    Args:
        metadata: what the recording's JSON holds, with its duration.

    Raises:
        BadRecording: it cannot; says all that is wrong.
    """
    faults = [
        *_faults_of_texts(metadata.get("texts")),
        *_faults_of_tags(metadata.get("tags", [])),
        *_faults_of_scalars(metadata),
    ]
    if faults:
        raise BadRecording("unusable metadata", "; ".join(faults))


def _faults_of_texts(texts: Any) -> Iterator[str]:
    if not isinstance(texts, Mapping):
        yield f"texts is {texts!r:.80}, not lists of strings by source"
        return
    for source, found in texts.items():
        if source not in SOURCES:
            near = difflib.get_close_matches(str(source), SOURCES, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(SOURCES)}"
            yield f"texts.{source!s:.80} is no source of texts{hint}"
        elif found != [] and found != ():  # a source without texts is one that the recording does not have
            try:
                readable_texts(source, found)
            except BadRecording as error:
                yield error.detail


def _faults_of_tags(tags: Any) -> Iterator[str]:
    if not (isinstance(tags, list | tuple) and all(isinstance(tag, str) for tag in tags)):
        yield f"tags is {tags!r:.80}, not a list of strings"
    elif not all(map(is_unicode, tags)):
        yield f"tags has half of a surrogate pair: {tags!r:.80}"
    elif any(is_blank(tag.rpartition(":")[2]) for tag in tags):
        yield f"tags has one without a text: {tags!r:.80}"


def _faults_of_scalars(metadata: Mapping[str, Any]) -> Iterator[str]:
    split, duration_s = metadata.get("split", "train"), metadata.get("duration_s")
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1)
        yield f"split is {split!r:.80}, not one of {', '.join(SPLITS)}" + (f"; did you mean {near[0]}?" if near else "")
    if not _is_length(duration_s):
        yield f"duration_s is {duration_s!r:.80}, not a number of seconds above 0"
    for name in ("provenance", "licence"):
        value = metadata.get(name, "")
        if name in metadata and not (isinstance(value, str) and is_unicode(value)):
            yield f"{name} is {value!r:.80}, not Unicode text"


def _is_length(duration_s: Any) -> bool:
    if not isinstance(duration_s, Real) or isinstance(duration_s, bool):
        return False
    try:
        return 0 < float(duration_s) < math.inf
    except OverflowError:  # of an integer, which JSON lets have hundreds of digits
        return False
