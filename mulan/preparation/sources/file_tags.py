"""The tags in audio files: ID3, Vorbis comments, and those of MP4, RIFF, AIFF and ASF, read with ``tinytag``."""

import posixpath
import re
from dataclasses import dataclass
from typing import BinaryIO

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from tinytag import TinyTag, TinyTagException

from mulan.storage import filesystem
from mulan.storage.errors import StorageError, StoragePermanentError, affects_all_files, is_transient
from mulan.storage.retries import with_retries

_BLOCK_BYTES = 2**16
"""Number of bytes of one request for a remote file: most tags are shorter, and the audio is not read."""

_GENRE_SEPARATORS = re.compile(r"[;/\0\n]")
_NO_GENRES = frozenset({"", "other", "unknown", "unknown genre", "none", "genre", "misc"})
_COMMENTS = ("comment", "_comment", "description")
_CONTROL = re.compile(r"[\0-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]+")
_TRACK_NUMBER = re.compile(r"(?:\d{1,2}|\d-\d{2})(?:\s*[-.)]\s*|\s+)(?=\D)")


@dataclass(frozen=True, kw_only=True)
class FileTags:
    """The tags of an audio file; what it does not state is empty."""

    title: str = ""
    artist: str = ""
    """Artist of the recording, otherwise that of the album."""
    album: str = ""
    genres: tuple[str, ...] = ()
    """Genres in lower case, each once."""
    comments: tuple[str, ...] = ()
    """Comments and descriptions, each once."""


def read_tags(uri: str) -> FileTags:
    """Returns the tags of a file; none if it has none, or they are damaged, or it alone cannot be read.

    Only the parts of a remote file that contain tags are read.

    Raises:
        StorageError, StoragePermanentError: The storage cannot be read.
    """
    fs, path = filesystem.url_to_fs(uri)
    try:
        if isinstance(fs, LocalFileSystem):
            with open(path, "rb") as file:
                return _parsed(path, file)
        return with_retries(f"{uri} cannot be read", _read_remote, fs, path)
    except StoragePermanentError as error:
        if not isinstance(error.__cause__, PermissionError) or affects_all_files(error.__cause__):
            raise
    except StorageError:
        raise
    except Exception:  # damaged tags raise anything; a file that is missing is reported when its audio is read
        pass
    return FileTags()


def _read_remote(fs: AbstractFileSystem, path: str) -> FileTags:
    with fs.open(path, "rb", block_size=_BLOCK_BYTES) as file:
        try:
            return _parsed(path, file)
        except TinyTagException as error:
            cause = error.__cause__
            if cause is None or not (is_transient(cause) or affects_all_files(cause)):
                raise
        raise cause  # without another cause, as its own tells what kind of error it is


def _parsed(path: str, file: BinaryIO) -> FileTags:
    tag = TinyTag.get(posixpath.basename(path), file, duration=False)
    others = tag.other
    genres = _GENRE_SEPARATORS.split("\0".join(filter(None, [tag.genre, *others.get("genre", [])])))
    lowered = dict.fromkeys(_one_line(genre).lower() for genre in genres)
    # FFmpeg writes the comment of an MP3 as a field of its own, which tinytag calls _comment
    comments = [tag.comment, *(text for name in _COMMENTS for text in others.get(name, []))]
    return FileTags(
        title=_one_line(tag.title),
        artist=_one_line(tag.artist) or _one_line(tag.albumartist),
        album=_one_line(tag.album),
        genres=tuple(genre for genre in lowered if genre not in _NO_GENRES and not genre.isdecimal()),
        comments=tuple(dict.fromkeys(filter(None, map(_clean, comments)))),
    )


def _clean(text: str | None) -> str:
    """Returns a text of a tag in valid Unicode, without control characters: programs pad fields with them."""
    lines = _CONTROL.sub(" ", (text or "").encode(errors="replace").decode()).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines).strip()


def _one_line(text: str | None) -> str:
    return " ".join(_clean(text).split())


def title_of_name(path: str) -> str:
    """Returns the title that the name of a file without tags states: without number of the track and extension.

    Example:
        >>> title_of_name("album/03 - Blue_in_green.flac"), title_of_name("0001.wav")
        ('Blue in green', '')
    """
    stem = posixpath.splitext(posixpath.basename(path))[0].replace("_", " ").strip()
    title = _TRACK_NUMBER.sub("", stem, count=1) if _TRACK_NUMBER.match(stem) else stem
    return _one_line(title) if any(letter.isalpha() for letter in title) else ""
