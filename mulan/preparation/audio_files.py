"""Listing of the audio files of a source, once, so that what is missing is known before any work."""

import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mulan.data.corpus.records import AUDIO_EXTENSIONS
from mulan.preparation.found import AudioLocation
from mulan.storage import filesystem
from mulan.storage.listing import files_below


@dataclass(frozen=True)
class AudioFiles:
    """The audio files below a folder, by their paths relative to it, sorted."""

    uri: str
    """Path or URI of the folder."""
    versions: dict[str, str]
    """Size and time of the last change of each file, by its relative path, in the order of the paths."""

    @classmethod
    def below(cls, uri: str) -> "AudioFiles":
        """Lists a folder and all folders in it. Hidden files and folders are left out.

        Raises:
            StorageError, StoragePermanentError: The folder cannot be listed.
        """
        return cls(uri, files_below(uri, is_audio))

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)

    def find(self, path: str) -> AudioLocation | None:
        """Returns the file at a relative path, or with the same name and the extension of another audio format.

        The exact path is preferred; of several other formats, the first in alphabetical order is returned. Names that
        differ only in the composition of accents are the same, because macOS writes them in another way than others.
        """
        path = posixpath.normpath(path)
        if path in self.versions:
            return self.location(path)
        return self._first(self._by_stem.get(_stem(path), ()), path)

    def find_anywhere(self, path: str) -> AudioLocation | None:
        """Returns the file whose path ends with a relative path, in whatever folder below, as :meth:`find` does.

        Of several such files, one in the format of ``path`` is preferred, and then the first in alphabetical order.
        """
        path = posixpath.normpath(path)
        depth = path.count("/") + 1
        if depth not in self._by_ending:
            self._by_ending[depth] = _grouped(self.versions, lambda stem: "/".join(stem.rsplit("/", depth)[-depth:]))
        return self._first(self._by_ending[depth].get(_stem(path), ()), path)

    def location(self, path: str) -> AudioLocation:
        """Returns the location of a file by its relative path."""
        return AudioLocation(uri=filesystem.join(self.uri, path), version=self.versions[path])

    def _first(self, paths: Sequence[str], wanted: str) -> AudioLocation | None:
        extension = posixpath.splitext(wanted)[1]
        same = [path for path in paths if posixpath.splitext(path)[1] == extension]
        return self.location((same or paths)[0]) if paths else None

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped(self.versions, lambda stem: stem)

    @cached_property
    def _by_ending(self) -> dict[int, dict[str, list[str]]]:
        return {}


def _stem(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.splitext(path)[0])


def _grouped(paths: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(key(_stem(path)), []).append(path)
    return groups


def is_audio(path: str) -> bool:
    """Returns whether the name of a file has the extension of an audio format."""
    return posixpath.splitext(path)[1][1:].lower() in AUDIO_EXTENSIONS
