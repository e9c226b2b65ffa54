"""Emomusic, the 1000 songs of MediaEval 2013 (Soleymani et al. 2013), in its official layout."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.numbered_rows import rows_by_number
from mulan.preparation.sources.official_audio import list_audio
from mulan.storage import filesystem

_START, _END = "start of the segment (min.sec)", "end of the segment (min.sec)"
_SET = "Mediaeval 2013 set"
_INFO = ("file_name", "Artist", "Song title", _START, _END, "Genre", _SET)

_TIME = re.compile(r"(\d+)(?:\.([0-5]\d?))?", re.ASCII)

_REMEDY = "unpack annotations.tar.gz of Emomusic (1000 songs) again"


class EmomusicConfig(Section):
    """How Emomusic is read. PATH contains ``clips_45seconds/``, and ``annotations/`` or the files that are in it.

    The ratings describe the whole excerpts, so ``clip.start_s=0`` and ``clip.duration_s=0`` keep these. The targets are
    the raw means on the scale of 1 to 9. CALM, MuLaP and MARBLE standardize them with the 619 development songs
    (population standard deviation): arousal 4.756063166397409 and 1.3860096547884178, valence 4.97386462035541 and
    1.2546183995244033.
    """

    split: Literal["calm", "mediaeval"] = "calm"
    """The splits: ``calm`` (Castellon et al. 2021), 504 songs for training, 115 for validation and 125 for testing, by
    artist; or ``mediaeval``, the official 619 and 125, of which none are for validation."""


@dataclass(frozen=True)
class EmomusicSong:
    """A song with its static ratings."""

    song_id: int
    """Id of the song, 2 to 1000, which names its audio file."""
    is_evaluation: bool
    """Whether it is in MediaEval's evaluation set."""
    artist: str
    """Name of the artist."""
    title: str
    """Title of the song."""
    genre: str
    """Genre, one of 8."""
    start_s: int
    """Start in seconds of the excerpt in the song."""
    end_s: int
    """End in seconds of the excerpt in the song, 45 s later."""
    arousal: float
    """Mean rating of the arousal, 1 to 9."""
    valence: float
    """Mean rating of the valence, 1 to 9."""


class EmomusicSource:
    """The excerpts of 45 s, with the targets ``arousal`` and ``valence`` and a tag for the genre."""

    def __init__(self, uri: str, config: EmomusicConfig) -> None:
        """
        Args:
            uri: Path or URI of the folder that contains the annotations and the folder of the audio.
        """
        self._uri, self._config = uri, config
        self._name = f"emomusic={uri}"

    def songs(self) -> list[EmomusicSong]:
        """Returns the songs by id.

        Raises:
            SourceError: A file is missing or damaged.
        """
        ratings = self._ratings()
        uri = self._file("songs_info.csv")
        rows = rows_by_number(self._name, uri, "song_id", _INFO, remedy=_REMEDY)
        songs, damaged = [], DamagedLines(uri, _REMEDY)
        for number, row in sorted(rows.items()):
            try:
                if number not in ratings:
                    raise ValueError(f"song {number} is not in static_annotations.csv")
                songs.append(_song(number, row.fields, ratings[number]))
            except ValueError as error:
                damaged.add(row.line, str(error))
        faults = damaged.faults()
        absent = [str(number) for number in ratings if number not in rows]
        if absent:
            faults.append(f"{uri} lacks the songs {', '.join(absent)} of static_annotations.csv; {_REMEDY}")
        if faults:
            raise SourceError(self._name, faults)
        return songs

    def _ratings(self) -> dict[int, tuple[float, float]]:
        """Returns the mean arousal and valence of each song."""
        uri = self._file("static_annotations.csv")
        rows = rows_by_number(self._name, uri, "song_id", ("mean_arousal", "mean_valence"), remedy=_REMEDY)
        ratings, damaged = {}, DamagedLines(uri, _REMEDY)
        for number, row in rows.items():
            try:
                ratings[number] = (_rating(row.fields, "mean_arousal"), _rating(row.fields, "mean_valence"))
            except ValueError as error:
                damaged.add(row.line, str(error))
        if faults := damaged.faults():
            raise SourceError(self._name, faults)
        return ratings

    def _file(self, name: str) -> str:
        folder = ["annotations"] if "annotations" in filesystem.names_in(self._uri) else []
        return filesystem.join(self._uri, *folder, name)

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the songs whose audio is there, by id.

        Raises:
            SourceError: A file of the annotations is missing or damaged, or there is no folder with the audio.
        """
        songs = self.songs()
        folder = filesystem.join(self._uri, "clips_45seconds")
        audio = list_audio(self._name, folder, remedy="unpack clips_45sec.tar.gz of Emomusic (1000 songs) there")
        for song in songs:
            recording_id = str(song.song_id)
            location = audio.find(f"{recording_id}.mp3")
            if location is None:
                faults.missing(recording_id, filesystem.join(folder, f"{recording_id}.mp3"))
                continue
            yield FoundRecording(
                recording_id=recording_id,
                audio=location,
                split=self._split(song),
                tags=[f"genre:{song.genre}"] if song.genre else [],
                title=song.title,
                artist=song.artist,
                targets={"arousal": song.arousal, "valence": song.valence},
                provenance=f"Emomusic, song {song.song_id}, seconds {song.start_s} to {song.end_s}",
            )

    def _split(self, song: EmomusicSong) -> str:
        if song.is_evaluation:
            return "test"
        return calm_split(song.artist) if self._config.split == "calm" else "train"


def calm_split(artist: str) -> str:
    """Returns CALM's split of an artist's development songs: ``train`` for eight artists of ten, or ``validation``.

    The rule is that of jukemir, the code of Castellon et al. 2021: SHA-1 of the name's ASCII letters in lower case.
    """
    letters = "".join(char for char in artist.lower() if char.isascii() and (char.isalpha() or char.isspace()))
    number = int(hashlib.sha1(" ".join(letters.split()).encode()).hexdigest(), 16)
    return "train" if number % 10 < 8 else "validation"


def _song(number: int, row: Mapping[str, str], ratings: tuple[float, float]) -> EmomusicSong:
    """Returns the song of a row; raises ValueError, with what is wrong, if it is damaged."""
    if row[_SET] not in ("development", "evaluation"):
        raise ValueError(f"{_SET} is {row[_SET]!r:.80}, neither 'development' nor 'evaluation'")
    if row["file_name"] != f"{number}.mp3":
        raise ValueError(f"file_name is {row['file_name']!r:.80}, not {number}.mp3")
    start_s, end_s = seconds_of(row[_START]), seconds_of(row[_END])
    if end_s - start_s != 45:
        raise ValueError(f"the segment from {row[_START]} to {row[_END]} does not last 45 s")
    return EmomusicSong(
        song_id=number,
        is_evaluation=row[_SET] == "evaluation",
        artist=row["Artist"],
        title=row["Song title"],
        genre=row["Genre"],
        start_s=start_s,
        end_s=end_s,
        arousal=ratings[0],
        valence=ratings[1],
    )


def seconds_of(time: str) -> int:
    """Returns the seconds of a time as ``minutes.seconds``, where ``0.5`` stands for ``0.50``: 50 s.

    Raises:
        ValueError: It is not such a time.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(f"{time!r:.80} is not a time as minutes.seconds")
    return 60 * int(match[1]) + int((match[2] or "").ljust(2, "0"))


def _rating(row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = 0.0
    if not 1 <= value <= 9:
        raise ValueError(f"{name} is {row[name]!r:.80}, not a number from 1 to 9")
    return value
