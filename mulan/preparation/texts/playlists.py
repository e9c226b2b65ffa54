"""Titles of playlists, joined to the recordings that they contain (MuLan §3.4)."""

import posixpath
from dataclasses import dataclass
from typing import Any

from mulan.data.errors import MAX_FAULTS
from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.texts.tables import column_rows
from mulan.storage import filesystem

COLUMNS = ("playlist", "recording")
"""Columns of the table: the title of a playlist; the id of a recording, or the path or URI of its audio file."""


@dataclass(frozen=True)
class PlaylistTitles:
    """The titles of the playlists that contain each recording.

    All of them are held in memory: each distinct title once, and about 200 bytes for each recording and 8 for each of
    its playlists.
    """

    titles: dict[str, list[str]]
    """Titles in the order of the table, by what it names: the id of a recording, or the path or URI of its audio."""
    folder: str
    """Absolute path or URI of the folder of the table, to which paths in it may be relative."""

    @classmethod
    def load(cls, uri: str) -> "PlaylistTitles":
        """Reads a table with the columns :data:`COLUMNS`, one row for each playlist and recording.

        Args:
            uri: Path or URI of a CSV, TSV, JSON lines, Parquet or Arrow file.

        Raises:
            SourceError: The table does not exist or is damaged, or rows lack a title or a recording; lists all faults.
            StorageError, StoragePermanentError: The table cannot be read.
        """
        uri = filesystem.absolute(uri)
        source = f"text.playlists={uri}"
        faults: list[str] = []
        incomplete = 0
        distinct: dict[str, str] = {}
        titles: dict[str, list[str]] = {}
        for line, row in column_rows(source, uri, COLUMNS):
            title, recording = (_as_text(row[column]) for column in COLUMNS)
            if title and recording:
                titles.setdefault(recording, []).append(distinct.setdefault(title, title))
            else:
                incomplete += 1
                if incomplete <= MAX_FAULTS:
                    faults.append(
                        at_line(uri, line, "lacks the title of a playlist or the recording; complete the row")
                    )
        if faults:
            raise SourceError(source, faults, incomplete)
        if not titles:
            raise SourceError(source, [f"{uri} has no rows"])
        return cls(titles, posixpath.dirname(uri))

    def of(self, recording: FoundRecording) -> list[str]:
        """Returns the titles of the playlists that contain a recording.

        It is found by its id, or by the path or URI of its audio file, which may be relative to the folder of the
        table. Where one file contains many recordings, only ids are compared.
        """
        audio, names = recording.audio, {recording.recording_id: None}
        if audio.row is None and not audio.offset and audio.length is None:
            names |= {audio.uri: None, audio.uri.removeprefix(f"{self.folder}/"): None}
        return [title for name in names for title in self.titles.get(name, ())]


def _as_text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
