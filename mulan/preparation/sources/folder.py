"""A folder of audio files, whose tags and names are the texts."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from mulan.config.base import Section
from mulan.config.parsing import parse_json
from mulan.config.sections import StoredSource
from mulan.data.corpus.fields import RecordingFields, as_tag, map_fields
from mulan.data.errors import BadRecording
from mulan.data.text import is_unicode
from mulan.preparation.audio_files import is_audio
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.sources.file_tags import FileTags, read_tags, title_of_name
from mulan.storage import filesystem
from mulan.storage.listing import files_below

_TEXTS, _JSON = ".txt", ".json"
MAX_SIDECAR_BYTES = 2**20
"""Maximum size of a file with texts beside an audio file."""

_CONCURRENT_READS = 16
"""Number of remote files whose tags are read at once, as each takes several round trips."""


class FolderConfig(Section):
    """The settings of folders of audio files."""

    split: Literal["", "train", "validation", "test"] = ""
    """Split of the recordings that no JSON file assigns to one."""
    provenance: str = ""
    """Origin of the recordings."""
    licence: str = ""
    """Licence of the recordings."""


class FolderSource:
    """The audio files in a folder and all folders in it; other files are ignored.

    Title and genres of the tags are short-form texts, as those of videos are in MuLan §3.4, and comments are long-form
    texts; genres are also tags. Without a title, the name of the file is one. Names of artists and albums are no texts.

    Beside ``NAME.mp3`` there may be ``NAME.txt``, with a long-form text in each line, and ``NAME.json``, an object with
    the fields that :func:`mulan.data.corpus.fields.map_fields` describes, such as ``texts`` by source, ``tags`` and
    ``split``. Where it states a title or an artist, it is preferred to the tags.

    The id of a recording is the path of its file without the extension, unless several files have that path: then all
    of them keep their extensions.
    """

    def __init__(self, uri: str, config: FolderConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the folder.
            config: The settings.
        """
        self._uri, self._config = uri, config

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings in the order of their paths, as of :class:`mulan.preparation.found.Source`.

        Whether files can be decoded is not checked here.

        Raises:
            SourceError: There is no such folder, or no audio file in it.
            StorageError, StoragePermanentError: The folder or its files cannot be read.
        """
        source = f"folder={self._uri}"
        try:
            versions = files_below(self._uri, lambda path: is_audio(path) or path.endswith((_TEXTS, _JSON)))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(source, [f"there is no folder {self._uri}; name another one"]) from error
        audio = [path for path in versions if is_audio(path)]
        if not audio:
            raise SourceError(source, [f"{self._uri} contains no audio files; name another folder"])
        names = names_of(audio)
        readable = []
        for path in audio:
            if is_unicode(path):
                readable.append(path)
            else:
                faults.add("name not Unicode", f"{path!r}; rename the file or its folder")
        for path, tags in self._tagged(readable):
            try:
                yield self._recording(path, names[path], versions, tags)
            except BadRecording as error:
                faults.add(error.reason, f"{path}: {error.detail}")

    def _tagged(self, paths: Sequence[str]) -> Iterator[tuple[str, FileTags]]:
        """Yields each path with the tags of the file."""
        uris = [filesystem.join(self._uri, path) for path in paths]
        if filesystem.is_local(self._uri):
            yield from zip(paths, map(read_tags, uris), strict=True)
            return
        with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
            for start in range(0, len(uris), _CONCURRENT_READS):
                part = slice(start, start + _CONCURRENT_READS)
                yield from zip(paths[part], pool.map(read_tags, uris[part]), strict=True)

    def _recording(self, path: str, name: str, versions: Mapping[str, str], tags: FileTags) -> FoundRecording:
        stem = posixpath.splitext(path)[0]
        beside = RecordingFields()
        if stem + _JSON in versions:
            beside = map_fields(self._json(stem + _JSON))
        lines = self._sidecar(stem + _TEXTS).splitlines() if stem + _TEXTS in versions else []
        title = beside.title or tags.title or title_of_name(path)
        texts: dict[StoredSource, Sequence[str]] = {
            **beside.texts,
            "short_form": _union(beside.texts.get("short_form", ()), [title, *tags.genres]),
            "long_form": _union(beside.texts.get("long_form", ()), [*map(str.strip, lines), *tags.comments]),
        }
        return FoundRecording(
            recording_id=name,
            audio=AudioLocation(uri=filesystem.join(self._uri, path), version=versions[path]),
            split=beside.split or self._config.split,
            texts={source: found for source, found in texts.items() if found},
            tags=_union(beside.tags, [as_tag("genre", genre) for genre in tags.genres]),
            title=title,
            artist=beside.artist or tags.artist,
            channel=beside.channel or tags.album,
            start_s=beside.start_s,
            end_s=beside.end_s,
            provenance=beside.provenance or self._config.provenance,
            licence=beside.licence or self._config.licence,
        )

    def _json(self, path: str) -> dict[str, Any]:
        try:
            content = parse_json(self._sidecar(path))
        except ValueError as error:
            if isinstance(error, BadRecording):
                raise
            raise BadRecording("damaged sidecar", f"{path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise BadRecording("damaged sidecar", f"{path} is a {type(content).__name__}, not an object")
        return content

    def _sidecar(self, path: str) -> str:
        """Returns the text of a file beside an audio file."""
        uri = filesystem.join(self._uri, path)
        (content,) = filesystem.read_ranges([uri], [0], [MAX_SIDECAR_BYTES + 1])
        if isinstance(content, Exception):
            raise BadRecording("unreadable sidecar", f"{path}: {content}") from content
        if len(content) > MAX_SIDECAR_BYTES:
            raise BadRecording("damaged sidecar", f"{path} has more than {MAX_SIDECAR_BYTES} bytes")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadRecording("damaged sidecar", f"{path} is not UTF-8") from error


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """Returns a name for each path: without its extension, unless another path has that name with or without its own.

    Example:
        >>> names_of(["a.mp3", "b.flac", "b.mp3"])
        {'a.mp3': 'a', 'b.flac': 'b.flac', 'b.mp3': 'b.mp3'}
    """
    stems = {path: posixpath.splitext(path)[0] for path in paths}
    counts, whole = Counter(stems.values()), set(paths)
    return {path: path if counts[stem] > 1 or stem in whole else stem for path, stem in stems.items()}


def _union(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in [*one, *other] if text))
