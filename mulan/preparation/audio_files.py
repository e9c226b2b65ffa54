"""Listing of the audio files of a source, once, so that what is missing is known before any work."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

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

        The exact path is preferred; of several other formats, the first in alphabetical order is returned.
        """
        if path in self.versions:
            return self.location(path)
        others = self._by_stem().get(posixpath.splitext(path)[0])
        return self.location(others) if others else None

    def location(self, path: str) -> AudioLocation:
        """Returns the location of a file by its relative path."""
        return AudioLocation(uri=filesystem.join(self.uri, path), version=self.versions[path])

    def _by_stem(self) -> dict[str, str]:
        stems = self.__dict__.get("_stems")
        if stems is None:
            stems = {posixpath.splitext(path)[0]: path for path in reversed(self.versions)}
            object.__setattr__(self, "_stems", stems)
        return stems


def is_audio(path: str) -> bool:
    """Returns whether the name of a file has the extension of an audio format."""
    return posixpath.splitext(path)[1][1:].lower() in AUDIO_EXTENSIONS
