"""The Free Music Archive data set (Defferrard et al. 2017, arXiv:1612.01840) in its official layout."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_audio import list_audio
from mulan.preparation.sources.official_files import csv_rows, dict_rows, read_official
from mulan.preparation.sources.streamed_files import lines_of, text_chunks
from mulan.storage import filesystem

Subset = Literal["small", "medium", "large"]

SUBSETS: tuple[Subset, ...] = ("small", "medium", "large")
"""The subsets; each contains those before it."""

KNOWN_BAD_TRACKS = frozenset({
    1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571, 99134, 105247, 108924,
    108925, 126981, 127336, 133297, 143992
})  # fmt: skip
"""Tracks whose clip is empty, shorter than 30 s or cut at a wrong place, as the authors list them (mdeff/fma#8). In
``small`` these are the six that MuLaP leaves out: 98565, 98567, 98569, 99134, 108925 and 133297."""

_SPLITS: Mapping[str, Mapping[str, str]] = {
    "official": {"training": "train", "validation": "validation", "test": "test"},
    "mulap": {"training": "train", "validation": "test"},
}

_COLUMNS = (
    ("album", "title"), ("artist", "name"), ("set", "split"), ("set", "subset"), ("track", "genre_top"),
    ("track", "genres_all"), ("track", "license"), ("track", "tags"), ("track", "title")
)  # fmt: skip

_REMEDY = "unpack fma_metadata.zip of the FMA data set again"


class FmaConfig(Section):
    """How FMA is read. PATH contains ``fma_metadata/`` and ``fma_small/``, ``fma_medium/`` or ``fma_large/``."""

    subset: Subset = "small"
    """The subset: ``small`` (8,000 tracks of 8 genres), ``medium`` (25,000 of 16) or ``large`` (106,574). Its audio is
    also found in the folder of a larger one."""
    protocol: Literal["official", "mulap"] = "official"
    """The splits: ``official``, or those of MuLaP's code (Manco et al. 2022, class ``FMASmall``), which tests on the
    official validation split. That becomes ``test``, no validation split remains, and the official test split is left
    out."""


@dataclass(frozen=True)
class FmaGenre:
    """A genre of FMA's hierarchy."""

    title: str
    """Title, unique."""
    parent: int
    """Id of the parent; 0 for the 16 roots."""


@dataclass(frozen=True)
class FmaTrack:
    """A row of ``tracks.csv``."""

    line: int
    """Line of the file, counted from 1."""
    track_id: int
    """Id of the track, which names its audio file."""
    subset: str
    """The smallest subset that has the track."""
    split: str
    """Official split: ``training``, ``validation`` or ``test``."""
    genre_top: str
    """Title of the root genre; empty if the track has several."""
    genres: tuple[str, ...]
    """Titles of all its genres and of their parents."""
    tags: tuple[str, ...]
    """Free tags of the artist."""
    title: str
    """Title of the track."""
    artist: str
    """Name of the artist."""
    album: str
    """Title of the album."""
    licence: str
    """Licence of the track."""


class FmaSource:
    """The tracks of a subset. The root genre is a tag ``genre:Rock``, its other genres are tags ``subgenre:Punk``."""

    def __init__(self, uri: str, config: FmaConfig) -> None:
        """
        Args:
            uri: Path or URI of the folder that contains ``fma_metadata`` and the folder of the audio.
        """
        self._uri, self._config = uri, config
        self._name = f"fma={uri}"

    def genres(self) -> dict[int, FmaGenre]:
        """Returns the genres of ``genres.csv`` by id.

        Raises:
            SourceError: The file is missing or damaged.
        """
        uri = filesystem.join(self._uri, "fma_metadata", "genres.csv")
        text = read_official(self._name, uri, remedy=_REMEDY)
        genres: dict[int, FmaGenre] = {}
        damaged = DamagedLines(uri, _REMEDY)
        for line, row in dict_rows(self._name, uri, text, ("genre_id", "parent", "title"), remedy=_REMEDY):
            try:
                genres[int(row["genre_id"])] = FmaGenre(row["title"], int(row["parent"]))
            except ValueError:
                damaged.add(line, f"genre_id {row['genre_id']!r:.80} or parent {row['parent']!r:.80} is no number")
        if faults := damaged.faults():
            raise SourceError(self._name, faults)
        return genres

    def tracks(self) -> Iterator[FmaTrack]:
        """Yields the tracks of the subset, also the known bad ones, in the order of ``tracks.csv``, which is by id.

        Raises:
            SourceError: The file is missing, truncated or of another layout; or, after all usable rows, rows are
                damaged.
        """
        uri = filesystem.join(self._uri, "fma_metadata", "tracks.csv")
        genres = self.genres()
        wanted = SUBSETS[: SUBSETS.index(self._config.subset) + 1]
        chunks = text_chunks(self._name, uri, remedy=_REMEDY)
        rows = csv_rows(self._name, uri, lines_of(chunks), remedy=_REMEDY)
        width, columns = self._columns(uri, rows)
        damaged, line = DamagedLines(uri, _REMEDY), 0
        for line, row in rows:
            if len(row) != width:
                fault = f"{len(row)} fields instead of {width}: the file is truncated or damaged; {_REMEDY}"
                raise SourceError(self._name, [*damaged.faults(), at_line(uri, line, fault)])
            try:
                if _subset(row[columns["set/subset"]]) in wanted:
                    fields = {name: row[index].strip() for name, index in columns.items()}
                    yield _track(line, row[0], fields, genres)
            except ValueError as error:
                damaged.add(line, str(error))
        if not line:
            damaged.add(1, "the table has no rows")
        if faults := damaged.faults():
            raise SourceError(self._name, faults)

    def _columns(self, uri: str, rows: Iterator[tuple[int, list[str]]]) -> tuple[int, dict[str, int]]:
        """Returns the number of columns, and the index of each needed one, as ``set/split``, from the three header
        lines: groups, names, and the name of the first column."""
        header = [row for _, row in (next(rows, (0, [""])) for _ in range(3))]
        groups, names, index = header
        if index[0] != "track_id" or len({len(row) for row in header}) != 1:
            fault = f"not the three header lines of tracks.csv, of which the third begins with track_id; {_REMEDY}"
            raise SourceError(self._name, [at_line(uri, 1, fault)])
        found = {pair: number for number, pair in enumerate(zip(groups, names, strict=True))}
        missing = ["/".join(pair) for pair in _COLUMNS if pair not in found]
        if missing:
            raise SourceError(self._name, [at_line(uri, 1, f"the header lacks {', '.join(missing)}; {_REMEDY}")])
        return len(index), {"/".join(pair): found[pair] for pair in _COLUMNS}

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the tracks whose audio is there, in the order of ``tracks.csv``; known bad tracks are left out.

        Raises:
            SourceError: A file is missing or damaged, or there is no folder with the audio of the subset.
        """
        audio = list_audio(self._name, self._audio_folder(), remedy="unpack its zip of the FMA data set again")
        splits = _SPLITS[self._config.protocol]
        for track in self.tracks():
            if track.split not in splits:
                continue
            recording_id = f"{track.track_id:06d}"
            if track.track_id in KNOWN_BAD_TRACKS:
                faults.add("known bad track", f"{recording_id}: its clip is empty, short or cut at a wrong place")
                continue
            path = f"{recording_id[:3]}/{recording_id}.mp3"
            location = audio.find(path)
            if location is None:
                faults.missing(recording_id, filesystem.join(audio.uri, path))
                continue
            texts = [text for text in (track.title, *track.tags) if text]
            yield FoundRecording(
                recording_id=recording_id,
                audio=location,
                split=splits[track.split],
                texts={"short_form": texts} if texts else {},
                tags=_tags(track),
                title=track.title,
                artist=track.artist,
                channel=track.album,
                provenance=f"Free Music Archive, track {track.track_id}",
                licence=track.licence,
            )

    def _audio_folder(self) -> str:
        """Returns the folder of the subset or of the smallest larger one that is there."""
        subset = self._config.subset
        folders = [f"fma_{name}" for name in SUBSETS[SUBSETS.index(subset) :]]
        present = filesystem.names_in(self._uri)
        for folder in folders:
            if folder in present:
                return filesystem.join(self._uri, folder)
        smaller = [name for name in SUBSETS if name not in folders and f"fma_{name}" in present]
        remedy = f"unpack {folders[0]}.zip there"
        if smaller:
            remedy += f", or --set fma.subset={smaller[-1]}"
        raise SourceError(self._name, [f"there is no {' or '.join(folders)} in {self._uri}; {remedy}"])


def _subset(subset: str) -> str:
    if subset not in SUBSETS:
        raise ValueError(f"the subset is {subset!r}, not one of {', '.join(SUBSETS)}")
    return subset


def _track(line: int, track_id: str, fields: Mapping[str, str], genres: Mapping[int, FmaGenre]) -> FmaTrack:
    """Returns the track of a row; raises ValueError, with what is wrong, if it is damaged."""
    if not (track_id.isascii() and track_id.isdigit()):
        raise ValueError(f"the id of the track is {track_id!r}, not a number")
    if fields["set/split"] not in _SPLITS["official"]:
        raise ValueError(f"the split is {fields['set/split']!r}, not one of {', '.join(_SPLITS['official'])}")
    ids = _list(fields, "track/genres_all")
    unknown = [number for number in ids if number not in genres]
    if unknown:
        raise ValueError(f"genres.csv lacks the genres {unknown!r:.80}")
    return FmaTrack(
        line=line,
        track_id=int(track_id),
        subset=fields["set/subset"],
        split=fields["set/split"],
        genre_top=fields["track/genre_top"],
        genres=tuple(genres[number].title for number in ids),
        tags=tuple(str(tag).strip() for tag in _list(fields, "track/tags")),
        title=fields["track/title"],
        artist=fields["artist/name"],
        album=fields["album/title"],
        licence=fields["track/license"],
    )


def _list(fields: Mapping[str, str], column: str) -> tuple[Any, ...]:
    """Returns a list of numbers or strings that is written as a Python literal."""
    value = _literal(fields[column])
    if not (isinstance(value, list) and all(isinstance(item, int | str) for item in value)):
        raise ValueError(f"{column} is {fields[column]!r:.80}, not a list")
    return tuple(value)


@lru_cache(maxsize=4096)  # most tracks have the lists of another one
def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two for deep nesting
        return None


def _tags(track: FmaTrack) -> list[str]:
    root = [f"genre:{track.genre_top}"] if track.genre_top else []
    return root + [f"subgenre:{title}" for title in track.genres if title != track.genre_top]
