"""A recording as it is read back: the tar members at the bytes that the index names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import texts_of
from mulan.data.corpus.tar_members import key_of, members_in, split_name
from mulan.data.errors import BadRecording
from mulan.storage import filesystem

AUDIO_EXTENSIONS = frozenset({
    "3gp", "aac", "ac3", "adts", "aif", "aifc", "aiff", "alac", "amr", "ape", "au", "avi", "avr", "caf", "dsf", "dts",
    "eac3", "flac", "flv", "gsm", "iff", "ircam", "m2ts", "m4a", "m4b", "m4r", "mka", "mkv", "mov", "mp1", "mp2",
    "mp3", "mp4", "mpa", "mpc", "mpeg", "mpg", "mpga", "nist", "nut", "oga", "ogg", "opus", "paf", "pvf", "qoa", "ra",
    "rf64", "rm", "sds", "snd", "sph", "spx", "svx", "tak", "ts", "tta", "voc", "w64", "wav", "wave", "weba", "webm",
    "wma", "wmv", "wv", "xi"
})  # fmt: skip
"""What is taken for the audio where a recording has further members."""


@dataclass(frozen=True)
class Record:
    """A recording as read back."""

    recording_id: str
    audio: bytes
    extension: str
    metadata: Mapping[str, Any]

    def texts(self, source: str) -> list[str]:
        """The texts of a source, less those in which there is nothing to read.

        Raises:
            BadRecording: no text is left, one is not Unicode, or the source is not a list of strings.
        """
        return texts_of(self.metadata, source)


def read_record(corpus: Corpus, row: int) -> Record:
    """One recording of a corpus by its row number, with its id in the index.

    Raises:
        BadRecording: the bytes are not there or are not a recording.
    """
    record = parse_read(filesystem.read_ranges(*corpus.byte_ranges([row]))[0])
    return replace(record, recording_id=corpus.recording_ids([row])[0])  # the shard's name may be a part of it


def parse_read(read: bytes | Exception) -> Record:
    """The recording in one result of :func:`mulan.storage.filesystem.read_ranges`."""
    if isinstance(read, FileNotFoundError):
        raise BadRecording("missing shard", str(read)) from read
    if isinstance(read, Exception):
        raise BadRecording("unreadable shard", f"{type(read).__name__}: {read}") from read
    return parse_record(read)


def parse_record(fragment: bytes) -> Record:
    """The recording whose tar members (headers included) these bytes are.

    Raises:
        BadRecording: cut off, not a tar, of several recordings, or without an audio member and a JSON object.
    """
    if not fragment:
        raise BadRecording("truncated shard", "it ends before the indexed bytes")
    found: dict[str, bytes] = {}
    key = ""
    for name, start, size in members_in(fragment):
        split = split_name(name)
        if split is None:
            continue
        content = fragment[start : start + size]  # one copy; tarfile makes more
        if len(content) != size:
            raise BadRecording("truncated shard", f"{name} has {len(content)} of {size} bytes")
        before, (key, extension) = key, split
        if before not in ("", key):
            raise BadRecording("not one recording", f"the indexed bytes hold {before} and {key}")
        if extension in found:
            raise BadRecording("not one recording", f"{key}.{extension} is there twice")
        found[extension] = content
    metadata = _metadata(key, found)
    extension = _audio_extension(key, found)
    told = metadata.get("recording_id")
    # the id of a recording that mulan wrote may hold what a key cannot
    own = isinstance(told, str) and told != "" and key_of(told) == key
    return Record(str(told) if own else key, found[extension], extension.rpartition(".")[2], metadata)


def _metadata(key: str, found: dict[str, bytes]) -> dict[str, Any]:
    """What the JSON among members holds, which is taken from them."""
    names = [name for name in found if name == "json"] or [name for name in found if name.endswith(".json")]
    if len(names) != 1:
        raise BadRecording("no metadata", f"{key} has {'several .json members' if names else 'no .json member'}")
    try:
        metadata = json.loads(found.pop(names[0]))
    except (ValueError, RecursionError) as error:  # the latter of lists in lists, without end
        raise BadRecording("unreadable metadata", f"{key}.json: {error}") from error
    if not isinstance(metadata, dict):
        raise BadRecording("no metadata", f"{key}.json is a {type(metadata).__name__}, not an object")
    return metadata


def _audio_extension(key: str, found: dict[str, bytes]) -> str:
    names = [name for name in found if name.rpartition(".")[2] in AUDIO_EXTENSIONS]
    if not names and len(found) == 1:
        names = list(found)
    if len(names) != 1:
        has = f"has several: {', '.join(names)}; leave one" if names else "has none"
        raise BadRecording("no audio", f"{key} needs one audio member and {has}")
    return names[0]
