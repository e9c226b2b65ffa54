"""MTG-Jamendo: more than 55,000 full tracks with tags of genre, instrument and mood or theme (Bogdanov et al. 2019)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.official_audio import list_audio
from mulan.preparation.sources.official_files import csv_rows, read_official
from mulan.storage import filesystem

_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
_ROW = {
    "track": re.compile(r"track_\d+"),
    "artist": re.compile(r"artist_\d+"),
    "album": re.compile(r"album_\d+"),
    "path": re.compile(r"\d\d/\d+\.mp3"),
    "duration": re.compile(r"\d+(\.\d+)?"),
}
"""What the first columns look like."""
_TAG = re.compile(r"(genre|instrument|mood/theme)---(.+)")
_REMEDY = "name a clone of MTG/mtg-jamendo-dataset on GitHub (git checkout restores its files)"


class MtgJamendoConfig(Section):
    """The importer of MTG-Jamendo."""

    split: Annotated[int, Field(ge=0, le=4)] = 0
    """Number of the official split. Results are usually those of split 0, whose test part contains all tracks of Song
    Describer; the training parts of other splits contain many of these (475 of 706 in split 1)."""
    subset: Literal["all", "top50tags", "genre", "instrument", "moodtheme"] = "all"
    """Which tags are kept: all, the 50 most frequent ones, or those of a category. Tracks without one are left out."""
    audio: str = ""
    """Folder or URI of the recordings, which may be in any folder in it; empty for the folder of the clone."""


@dataclass(frozen=True)
class JamendoTrack:
    """A track of a split, whether its audio is there or not."""

    track_id: str
    """Official id, such as ``track_0000382``."""
    artist_id: str
    album_id: str
    path: str
    """Path in the official folder of the recordings, such as ``82/382.mp3``."""
    duration_s: float
    split: str
    """``train``, ``validation`` or ``test``."""
    tags: tuple[str, ...]
    """Tags as ``category:text``, such as ``mood/theme:background``."""


class MtgJamendoSource:
    """Tracks of MTG-Jamendo with the tags of one subset and the parts of one split.

    The folder is a clone of the data set's repository. Audio is found as ``82/382.mp3`` or, if there is no such file,
    as ``82/382.low.mp3``, the smaller version. An artist is in one part of a split only.
    """

    def __init__(self, uri: str, config: MtgJamendoConfig) -> None:
        """
        Args:
            uri: Folder or URI of the clone.
            config: Which split and tags, and where the recordings are.
        """
        self._uri, self._name, self._config = uri, f"mtg_jamendo={uri}", config
        self._audio = filesystem.absolute(config.audio) if config.audio else uri

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the tracks whose audio is there: the parts of the split one after another, in the order of the files.

        Raises:
            SourceError: There is no such folder, or a file of the split is missing or damaged.
        """
        files = list_audio(self._name, self._audio, remedy="name the folder of the recordings")
        for track in self.tracks():
            low = f"{track.path.removesuffix('.mp3')}.low.mp3"
            audio = files.find_anywhere(track.path) or files.find_anywhere(low)
            if audio is None:
                faults.missing(track.track_id, f"{filesystem.join(self._audio, track.path)} or {low}")
                continue
            yield FoundRecording(
                recording_id=track.track_id,
                audio=audio,
                split=track.split,
                tags=track.tags,
                artist=track.artist_id,
                channel=track.album_id,
                provenance=f"https://www.jamendo.com/track/{_number(track.track_id)}",
            )

    def tracks(self) -> Iterator[JamendoTrack]:
        """Yields all tracks of the split, whether their audio is there or not.

        Raises:
            SourceError: A file of the split is missing or damaged; all faults are listed, after the other tracks.
        """
        seen: set[str] = set()
        damaged: list[str] = []
        for part in ("train", "validation", "test"):
            try:
                for where, fields in self._rows(part):
                    fault = _fault_of(fields)
                    if fault is None and fields[0] in seen:
                        fault = f"{fields[0]} is listed before"
                    if fault is None:
                        seen.add(fields[0])
                        yield _track(fields, part)
                    else:
                        damaged.append(f"{where}: {fault}; {_REMEDY}")
            except SourceError as error:
                damaged += error.faults
        if damaged:
            raise SourceError(self._name, damaged)

    def _rows(self, part: str) -> Iterator[tuple[str, list[str]]]:
        """Yields the rows of a file, each with its file and line, without the empty fields that spreadsheets add."""
        subset = "" if self._config.subset == "all" else f"_{self._config.subset}"
        name = f"data/splits/split-{self._config.split}/autotagging{subset}-{part}.tsv"
        uri = filesystem.join(self._uri, name)
        text = read_official(self._name, uri, remedy=_REMEDY)
        if not text.endswith(("\n", "\r")):  # rows have any number of tags: a missing one would not be noticed
            fault = f"the last line has no end, the file is truncated; {_REMEDY}"
            raise SourceError(self._name, [at_line(uri, len(text.splitlines()), fault)])
        rows = csv_rows(self._name, uri, text, delimiter="\t", remedy=_REMEDY)
        line, header = next(rows)
        if [field.strip() for field in header if field.strip()] != _HEADER:
            fault = f"the header is not {' '.join(_HEADER)}, separated by tabs; {_REMEDY}"
            raise SourceError(self._name, [at_line(uri, line, fault)])
        row: list[str] | None = None
        for line, row in rows:
            fields = [field.strip() for field in row]
            while fields and not fields[-1]:
                fields.pop()
            if fields:
                yield f"{uri}, line {line}", fields
        if row is None:
            raise SourceError(self._name, [at_line(uri, line, f"there are no tracks below the header; {_REMEDY}")])


def _track(fields: list[str], part: str) -> JamendoTrack:
    track_id, artist_id, album_id, path, duration, *tags = fields
    tags = [tag.replace("---", ":", 1) for tag in tags]
    return JamendoTrack(track_id, artist_id, album_id, path, float(duration), part, tuple(tags))


def _number(track_id: str) -> int:
    return int(track_id.removeprefix("track_"))


def _fault_of(fields: list[str]) -> str | None:
    """Returns what is wrong with the fields of a row; None if nothing is."""
    if len(fields) <= len(_ROW):
        return f"{len(fields)} fields instead of at least {len(_HEADER)}: the file is truncated or damaged"
    for (name, pattern), field in zip(_ROW.items(), fields, strict=False):
        if not pattern.fullmatch(field):
            return f"{field[:100]!r} is no {name}"
    number = _number(fields[0])
    if fields[3] != f"{number % 100:02d}/{number}.mp3":
        return f"{fields[3]} is not the path of {fields[0]}"
    wrong = [tag for tag in fields[5:] if not _TAG.fullmatch(tag)]
    return f"{wrong[0][:100]!r} is no tag" if wrong else None
