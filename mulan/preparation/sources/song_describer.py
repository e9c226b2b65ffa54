"""The Song Describer dataset (Manco et al. 2023): captions of two-minute excerpts of MTG-Jamendo's tracks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mulan.config.base import Section
from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_files import dict_rows, read_official
from mulan.storage import filesystem

TABLE = "song_describer.csv"
REMEDY = f"get {TABLE} again from zenodo.org/records/10072001"
LICENCE = "captions CC BY-SA 4.0, audio Creative Commons (audio_licenses.txt names the one of each track)"

_IDS = ("track_id", "artist_id", "album_id")
_COLUMNS = (*_IDS, "caption", "is_valid_subset", "path")


class SongDescriberConfig(Section):
    """The source ``song_describer``: a folder with ``song_describer.csv`` and ``audio``."""

    valid_only: bool = False
    """Whether only captions that were validated are used: 746 of 1,106, of 547 of 706 tracks."""


@dataclass
class CaptionedTrack:
    """The rows of a track."""

    track_id: int
    """MTG-Jamendo's number of the track."""
    artist_id: int
    """Its number of the artist."""
    album_id: int
    """Its number of the album."""
    path: str
    """Path of the whole track in MTG-Jamendo, such as ``34/1004034.mp3``."""
    captions: list[str] = field(default_factory=list)
    """What annotators wrote about the track, at least one text, with ``\\n`` between lines."""


class SongDescriberSource:
    """The tracks of Song Describer as recordings of the split ``test``: their captions are texts of ``long_form``.

    The excerpts are expected as ``34/1004034.2min.mp3`` or in another format, in ``audio`` or any other folder. All
    tracks are of the test split of MTG-Jamendo's split-0, but 475 of them are in the training split of its split-1.
    Artists and albums have the names that MTG-Jamendo gives them, such as ``artist_368880``.
    """

    def __init__(self, uri: str, config: SongDescriberConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the folder.
            config: The settings.
        """
        self._uri, self._config, self._name = uri, config, f"song_describer={uri}"

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the tracks with audio in the order of the table.

        Raises:
            SourceError: The table is missing or damaged: lists all damaged lines.
        """
        uri = filesystem.join(self._uri, TABLE)
        text = read_official(self._name, uri, remedy=REMEDY)
        tracks = captioned_tracks(self._name, uri, text, valid_only=self._config.valid_only)
        files = AudioFiles.below(self._uri)
        for track in tracks:
            folder, name = track.path.removesuffix(".mp3").split("/")
            excerpt = f"{folder}/{name}.2min.mp3"
            audio = files.find_anywhere(excerpt)
            if audio is None:
                faults.missing(str(track.track_id), filesystem.join(self._uri, "audio", excerpt))
                continue
            yield FoundRecording(
                recording_id=str(track.track_id),
                audio=audio,
                split="test",
                texts={"long_form": track.captions},
                artist=f"artist_{track.artist_id:06d}",
                channel=f"album_{track.album_id:06d}",
                provenance=f"Song Describer, MTG-Jamendo {track.path}",
                licence=LICENCE,
            )


def captioned_tracks(source: str, uri: str, text: str, *, valid_only: bool = False) -> list[CaptionedTrack]:
    """Reads the table, and joins the rows of each track, in the order of the first one.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file, for messages.
        text: Content of the file.
        valid_only: Whether captions that were not validated are left out, and tracks without any other.

    Raises:
        SourceError: The table is damaged: lists all damaged lines.
    """
    lines, tracks = DamagedLines(uri, REMEDY), dict[int, CaptionedTrack]()
    for line, row in dict_rows(source, uri, text, _COLUMNS, remedy=REMEDY):
        try:
            new, is_valid = _track(row), _is_valid(row["is_valid_subset"])
        except ValueError as error:
            lines.add(line, str(error))
            continue
        if valid_only and not is_valid:
            continue
        track = tracks.setdefault(new.track_id, new)
        if (new.artist_id, new.album_id, new.path) != (track.artist_id, track.album_id, track.path):
            lines.add(line, "artist_id, album_id or path is not that of the track's first row")
        track.captions.append(row["caption"].replace("\r\n", "\n"))
    if not tracks and not lines.faults():
        lines.add(1, "the table has no usable rows")
    if faults := lines.faults():
        raise SourceError(source, faults)
    return list(tracks.values())


def _track(row: Mapping[str, str]) -> CaptionedTrack:
    """Parses a row but for its caption.

    Raises:
        ValueError: The row is damaged. The message is the same for all rows with the same defect.
    """
    if not all(row[name].isascii() and row[name].isdigit() for name in _IDS):
        raise ValueError(f"{', '.join(_IDS[:-1])} or {_IDS[-1]} is not a number")
    track_id, artist_id, album_id = (int(row[name]) for name in _IDS)
    if row["path"] != f"{track_id % 100:02d}/{track_id}.mp3":
        raise ValueError("path is not made of the last two digits of track_id, a slash, track_id and .mp3")
    return CaptionedTrack(track_id, artist_id, album_id, row["path"])


def _is_valid(value: str) -> bool:
    """Returns whether a caption was validated; an empty cell means that nobody has tried."""
    if value.strip().lower() not in ("true", "false", ""):
        raise ValueError("is_valid_subset is neither True nor False nor empty")
    return value.strip().lower() == "true"
