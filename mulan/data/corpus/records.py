"""Parsing of recordings from their tar members, which are read at the byte ranges of the index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import texts_of
from mulan.data.corpus.tar_members import key_of, list_members, split_name
from mulan.data.errors import BadRecording
from mulan.storage import filesystem

AUDIO_EXTENSIONS = frozenset({
    "3gp", "aac", "ac3", "adts", "aif", "aifc", "aiff", "alac", "amr", "ape", "au", "avi", "avr", "caf", "dsf", "dts",
    "eac3", "flac", "flv", "gsm", "iff", "ircam", "m2ts", "m4a", "m4b", "m4r", "mka", "mkv", "mov", "mp1", "mp2",
    "mp3", "mp4", "mpa", "mpc", "mpeg", "mpg", "mpga", "nist", "nut", "oga", "ogg", "opus", "paf", "pvf", "qoa", "ra",
    "rf64", "rm", "sds", "snd", "sph", "spx", "svx", "tak", "ts", "tta", "voc", "w64", "wav", "wave", "weba", "webm",
    "wma", "wmv", "wv", "xi"
})  # fmt: skip
"""Extensions that identify the audio member if a recording has several members."""


@dataclass(frozen=True)
class Record:
    """A recording that was read from a shard."""

    recording_id: str
    audio: bytes
    """Encoded audio file."""
    extension: str
    """Extension of the audio file without the dot, in lower case."""
    metadata: Mapping[str, Any]

    def texts(self, source: str) -> list[str]:
        """Returns the non-blank texts of a source, of ``tags`` without their category.

        Raises:
            BadRecording: All texts are blank, one is not Unicode, or the source is not a list of strings.
        """
        return texts_of(self.metadata, source)


def read_record(corpus: Corpus, row: int) -> Record:
    """Reads the recording of a row of the index.

    Raises:
        BadRecording: The bytes cannot be read or are not a recording.
    """
    record = parse_result(filesystem.read_ranges(*corpus.byte_ranges([row]))[0])
    # the id of the index may include the name of the shard
    return replace(record, recording_id=corpus.recording_ids([row])[0])


def parse_result(result: bytes | Exception) -> Record:
    """Parses a recording from a result of :func:`mulan.storage.filesystem.read_ranges`.

    Raises:
        BadRecording: The result is an error, or not a recording.
    """
    if isinstance(result, FileNotFoundError):
        raise BadRecording("missing shard", str(result)) from result
    if isinstance(result, Exception):
        raise BadRecording("unreadable shard", f"{type(result).__name__}: {result}") from result
    return parse_record(result)


def parse_record(fragment: bytes) -> Record:
    """Parses a recording from its tar members, including their headers.

    Raises:
        BadRecording: The bytes are truncated or not a tar, contain several recordings, or lack audio or a JSON object.
    """
    if not fragment:
        raise BadRecording("truncated shard", "it ends before the indexed bytes")
    members: dict[str, bytes] = {}
    key = ""
    for name, start, size in list_members(fragment):
        split = split_name(name)
        if split is None:
            continue
        content = fragment[start : start + size]  # a single copy; tarfile would make more
        if len(content) != size:
            raise BadRecording("truncated shard", f"{name} has {len(content)} of {size} bytes")
        previous, (key, extension) = key, split
        if previous not in ("", key):
            raise BadRecording("not one recording", f"the indexed bytes contain {previous} and {key}")
        if extension in members:
            raise BadRecording("not one recording", f"there are several {key}.{extension}")
        members[extension] = content
    metadata = _pop_metadata(key, members)
    extension = _audio_extension(key, members)
    stated_id = metadata.get("recording_id")
    # mulan writes the id to the metadata, because a key cannot contain all characters
    is_own = isinstance(stated_id, str) and stated_id != "" and key_of(stated_id) == key
    return Record(str(stated_id) if is_own else key, members[extension], extension.rpartition(".")[2], metadata)


def _pop_metadata(key: str, members: dict[str, bytes]) -> dict[str, Any]:
    """Removes the JSON from the members and returns its content."""
    names = [name for name in members if name == "json"] or [name for name in members if name.endswith(".json")]
    if len(names) != 1:
        raise BadRecording("no metadata", f"{key} has {'several .json members' if names else 'no .json member'}")
    try:
        metadata = json.loads(members.pop(names[0]))
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested lists
        raise BadRecording("unreadable metadata", f"{key}.json: {error}") from error
    if not isinstance(metadata, dict):
        raise BadRecording("no metadata", f"{key}.json is a {type(metadata).__name__}, not an object")
    return metadata


def _audio_extension(key: str, members: dict[str, bytes]) -> str:
    names = [name for name in members if name.rpartition(".")[2] in AUDIO_EXTENSIONS]
    if not names and len(members) == 1:
        names = list(members)
    if len(names) != 1:
        has = f"has several: {', '.join(names)}; keep one" if names else "has none"
        raise BadRecording("no audio", f"{key} needs one audio member and {has}")
    return names[0]
