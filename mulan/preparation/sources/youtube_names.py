"""Audio files that are named by the ids of YouTube videos, as tools that download AudioSet and MusicCaps name them."""

import re
from dataclasses import dataclass

from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.found import AudioLocation

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
"""An id of a YouTube video. It may begin with a hyphen."""

_TIME = r"\d+(?:\.\d+)?"
_NAME = re.compile(
    rf"Y?(?P<id>{YOUTUBE_ID.pattern})(?:[_-](?P<start>{_TIME})(?:[_-]{_TIME})?)?"
    rf"|\[(?P<bracketed_id>{YOUTUBE_ID.pattern})\]-\[(?P<bracketed_start>{_TIME})-{_TIME}\]"
)
"""A file's name without its extension: ``ID``, ``YID``, ``ID_START``, ``ID_START_END`` or ``[ID]-[START-END]``."""


@dataclass(frozen=True)
class ClipFile:
    """The audio file of a clip."""

    location: AudioLocation
    """Where the file is."""
    is_cut: bool
    """Whether its name states the time of the clip in the video, so that it contains only the clip."""


class ClipFiles:
    """The audio files below a folder by the ids of YouTube videos in their names; files with other names are left out.

    The names are ``ID``, ``YID``, ``ID_START``, ``ID_START_END`` and ``[ID]-[START-END]``, with times in seconds or
    milliseconds, the extension of any audio format, and in any folder.
    """

    def __init__(self, files: AudioFiles) -> None:
        """
        Args:
            files: The listed files.
        """
        self._files = files
        self._paths: dict[str, tuple[str, ...]] = {}
        for path in files:
            if parsed := _parse(path):
                self._paths[parsed[0]] = (*self._paths.get(parsed[0], ()), path)

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, youtube_id: str, start_s: float) -> ClipFile | None:
        """Returns the file of a clip; None if there is none, or only files of other times of the video.

        Of several files, one whose name states the time is preferred, and then the first in the order of the paths.

        Args:
            youtube_id: Id of the video.
            start_s: Start of the clip in the video in seconds.
        """
        whole = None
        for path in self._paths.get(youtube_id, ()):
            parsed = _parse(path)
            assert parsed is not None
            if parsed[1] is None:
                whole = whole or path
            elif _is_time(parsed[1], start_s):
                return ClipFile(self._files.location(path), is_cut=True)
        return ClipFile(self._files.location(whole), is_cut=False) if whole else None

    def looked_for(self, youtube_id: str) -> str:
        """Returns what was looked for as the audio of a video, for messages."""
        return f"audio named {youtube_id}.*, or {youtube_id}_START.*, below {self._files.uri}"


def _parse(path: str) -> tuple[str, float | None] | None:
    """Returns the id and the start, in seconds or milliseconds, of a file's name; None if it has another form."""
    name = path.rpartition("/")[2].rpartition(".")[0]
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    start = match["start"] or match["bracketed_start"]
    return match["id"] or match["bracketed_id"], float(start) if start else None


def _is_time(named: float, start_s: float) -> bool:
    """Returns whether a number in a name is a time in seconds, which may be rounded, or in milliseconds."""
    return abs(named - start_s) < 1 or abs(named - 1000 * start_s) <= 1
