"""Reading and parsing of recordings from their tar members, which are at the byte ranges of the index."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from mulan.config.parsing import parse_json
from mulan.data.corpus.fields import Fields, map_fields
from mulan.data.corpus.index import Corpus, Location
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

_TEXT_EXTENSIONS = frozenset({"json", "txt", "cls"})
"""Extensions of the members with texts and tags: an object, a text, and the number or name of a class."""


@dataclass(frozen=True)
class Record:
    """A recording that was read from a shard."""

    recording_id: str
    audio: bytes
    """Encoded audio file."""
    extension: str
    """Extension of the audio file without the dot, in lower case."""
    metadata: Mapping[str, Any]
    audio_start: int = field(default=0, compare=False)
    """Offset in bytes of the encoded audio in the members that were read."""

    def texts(self, source: str) -> list[str]:
        """Returns the non-blank texts of a source, of ``tags`` without their category.

        Raises:
            BadRecording: All texts are blank, one is not Unicode, or the source is not a list of strings.
        """
        return texts_of(self.metadata, source)


@dataclass(frozen=True)
class Fragment:
    """The bytes of a recording's tar members, including their headers, or the error of reading them."""

    content: bytes | Exception
    """Bytes, which may be truncated, or the error of :func:`mulan.storage.filesystem.read_ranges`."""
    fields: str
    """How their texts are read: :attr:`mulan.data.corpus.index.Location.fields`."""

    def record(self) -> Record:
        """Returns the recording.

        Raises:
            BadRecording: The bytes could not be read, or are not a recording (:func:`parse_record`).
        """
        if isinstance(self.content, FileNotFoundError):
            raise BadRecording("missing shard", str(self.content)) from self.content
        if isinstance(self.content, Exception):
            detail = f"{type(self.content).__name__}: {self.content}"
            raise BadRecording("unreadable shard", detail) from self.content
        return parse_record(self.content, self.fields)


def read_fragments(locations: Sequence[Location]) -> list[Fragment]:
    """Reads the tar members of recordings, concurrently where the storage supports that.

    Raises:
        StorageError, StoragePermanentError: As in :func:`mulan.storage.filesystem.read_ranges`.
    """
    ranges = [(number, *each) for number, location in enumerate(locations) for each in location.ranges]
    numbers, offsets, lengths = map(list, zip(*ranges, strict=True)) if ranges else ([], [], [])
    parts: list[list[tuple[bytes | Exception, int]]] = [[] for _ in locations]
    uris = [locations[number].uri for number in numbers]
    for number, length, result in zip(numbers, lengths, filesystem.read_ranges(uris, offsets, lengths), strict=True):
        parts[number].append((result, length))
    return [Fragment(_joined(read), location.fields) for read, location in zip(parts, locations, strict=True)]


def _joined(parts: Sequence[tuple[bytes | Exception, int]]) -> bytes | Exception:
    content = []
    for result, length in parts:
        if isinstance(result, Exception):
            return result
        content.append(result)
        if len(result) < length:  # what follows would take the place of the missing bytes
            break
    return b"".join(content)


def read_record(corpus: Corpus, row: int) -> Record:
    """Reads the recording of a row of the index.

    Raises:
        BadRecording: The bytes cannot be read or are not a recording.
    """
    (fragment,) = read_fragments(corpus.locations([row]))
    # the id of the index may include the name of the shard, or of a part of what has the same key
    return replace(fragment.record(), recording_id=corpus.recording_ids([row])[0])


def parse_record(fragment: bytes, fields: str = "") -> Record:
    """Parses a recording from its tar members, including their headers.

    Args:
        fragment: The members, without the end mark of a tar.
        fields: How its texts are read: :attr:`mulan.data.corpus.index.Location.fields`.

    Raises:
        BadRecording: The bytes are truncated or not a tar, contain several recordings, or lack audio or texts.
    """
    if not fragment:
        raise BadRecording("truncated shard", "it ends before the indexed bytes")
    members: dict[str, bytes] = {}
    starts: dict[str, int] = {}
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
        members[extension], starts[extension] = content, start
    metadata = metadata_of(key, members, fields)
    extension = audio_extension(key, members)
    name, audio = id_of(key, metadata), members[extension]
    return Record(name, audio, extension.rpartition(".")[2], metadata, starts[extension])


def id_of(key: str, metadata: Mapping[str, Any]) -> str:
    """Returns the id of a recording: its key or, as a key cannot contain all characters, what mulan has written to the
    metadata."""
    stated_id = metadata.get("recording_id")
    return stated_id if isinstance(stated_id, str) and stated_id and key_of(stated_id) == key else key


def is_audio(extension: str) -> bool:
    """Returns whether the extension of a member, which may contain dots, is that of an audio file."""
    return extension.rpartition(".")[2] in AUDIO_EXTENSIONS


def is_text(extension: str) -> bool:
    """Returns whether the extension of a member, which may contain dots, is that of texts or tags."""
    return extension.rpartition(".")[2] in _TEXT_EXTENSIONS


def audio_extension(key: str, extensions: Collection[str]) -> str:
    """Returns which of the extensions of a recording's members is that of the audio file.

    Raises:
        BadRecording: None is, or several are.
    """
    names = [name for name in extensions if is_audio(name)] or [name for name in extensions if not is_text(name)]
    if len(names) != 1:
        has = f"has several: {', '.join(names)}; keep one" if names else "has none"
        raise BadRecording("no audio", f"{key} needs one audio member and {has}")
    return names[0]


def field_values(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns the values of a recording by field: those of its JSON, and other members as ``txt`` and ``cls``.

    Args:
        key: Key of the recording, for messages.
        members: Contents of its members by extension. Several texts are a list.

    Raises:
        BadRecording: There are several JSON members, or one is not an object, or a text is not UTF-8.
    """
    values = {}
    for kind in ("txt", "cls"):
        texts = [_decoded(f"{key}.{name}", members[name]) for name in sorted(_of_kind(members, kind))]
        if texts:
            values[kind] = texts[0] if len(texts) == 1 else texts
    names = _of_kind(members, "json")
    return values | _json(key, members) if names else values


def guessed_fields(key: str, members: Mapping[str, bytes]) -> str:
    """Returns how the texts of a recording are read: as mulan writes them if there are ``texts`` in its JSON.

    Args:
        key: Key of the recording, for messages.
        members: Contents of its members by extension.

    Raises:
        BadRecording: There are several JSON members, or one is not an object.
    """
    is_own = "texts" in _json(key, members) if _of_kind(members, "json") else not any(map(is_text, members))
    return "" if is_own else _USUAL_FIELDS


def metadata_of(key: str, members: Mapping[str, bytes], fields: str) -> dict[str, Any]:
    """Returns the metadata of a recording, of which mulan's own are the content of its JSON.

    Args:
        key: Key of the recording, for messages.
        members: Contents of its members by extension; that of the audio is not needed.
        fields: How its texts are read: :attr:`mulan.data.corpus.index.Location.fields`.

    Raises:
        BadRecording: There are no texts or tags, or they cannot be read.
    """
    if not fields:
        return _json(key, members)
    values = field_values(key, members)
    if not values:
        raise BadRecording("no metadata", f"{key} has no .json, .txt or .cls member")
    found = map_fields(values, _parsed_fields(fields))
    if not found.texts and not found.tags:
        raise BadRecording("no text", f"{key} has no texts and no tags in {', '.join(map(str, values)):.200}")
    metadata: dict[str, Any] = {
        "texts": {source: list(texts) for source, texts in found.texts.items()},
        "tags": list(found.tags),
        "provenance": found.provenance,
        "licence": found.licence,
    }
    optional = {"split": found.split, "title": found.title, "artist": found.artist}
    metadata |= {name: text for name, text in optional.items() if text}
    for name in _DURATIONS:
        if isinstance(values.get(name), int | float) and not isinstance(values[name], bool):
            metadata.setdefault("duration_s", values[name])
    return metadata


_USUAL_FIELDS = Fields().to_json()
_DURATIONS = ("duration_s", "duration", "length_s", "length", "audio_duration", "audio_length")
"""Names of the fields that may state the duration in seconds."""
_parsed_fields = lru_cache(maxsize=64)(Fields.from_json)


def _of_kind(members: Mapping[str, bytes], kind: str) -> list[str]:
    """Returns the extension of that name, or those that end with it."""
    return [name for name in members if name == kind] or [name for name in members if name.endswith(f".{kind}")]


def _json(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    names = _of_kind(members, "json")
    if len(names) != 1:
        raise BadRecording("no metadata", f"{key} has {'several .json members' if names else 'no .json member'}")
    try:
        metadata = parse_json(members[names[0]])
    except ValueError as error:
        raise BadRecording("unreadable metadata", f"{key}.json: {error}") from error
    if not isinstance(metadata, dict):
        raise BadRecording("no metadata", f"{key}.json is a {type(metadata).__name__}, not an object")
    return metadata


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadRecording("unreadable metadata", f"{name} is not UTF-8: {error}") from error
