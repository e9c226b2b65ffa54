"""The two GiantSteps data sets of keys of electronic dance music (Knees et al. 2015; Faraldo et al. 2017)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mulan.config.base import Section
from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.faults import Faults, SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.giantsteps_split import artist_splits
from mulan.preparation.sources.numbered_rows import NumberedRow, rows_by_number
from mulan.preparation.sources.official_audio import list_audio
from mulan.storage import filesystem
from mulan.storage.listing import files_below

TRAIN_FOLDER, TEST_FOLDER = "giantsteps-mtg-key-dataset", "giantsteps-key-dataset"
"""Names of the two data sets' repositories and of their folders."""

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
"""Names of the tonics in the 24 keys; sharps are written as the flats of the same pitch."""

_FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
_KEY = re.compile(r"([A-G][b#]?) (major|minor)")
_KEY_FILE = re.compile(r"(\d+)\.LOFI\.key", re.ASCII)
_MAX_KEY_BYTES = 1000

_REMEDY = "clone the repository again"


class GiantstepsConfig(Section):
    """How GiantSteps key is read. PATH contains ``giantsteps-mtg-key-dataset`` (train and validation),
    ``giantsteps-key-dataset`` (test), or both, each with the folder ``audio`` that its script ``audio_dl.sh`` fills.

    The keys are those of whole excerpts of two minutes, which ``clip.start_s=0`` and ``clip.duration_s=0`` keep.
    """


@dataclass(frozen=True)
class GiantstepsSong:
    """An excerpt of two minutes with one key."""

    song_id: int
    """Id of the song on Beatport, which names its audio file."""
    split: str
    """Split: ``train``, ``validation`` or ``test``."""
    key: str
    """Key, such as ``Eb minor``: one of :data:`TONICS`, and ``major`` or ``minor``."""
    title: str = ""
    """Title; the test set has none."""
    artist: str = ""
    """Artists, separated by commas; the test set has none."""
    label: str = ""
    """Record label; the test set has none."""


class GiantstepsSource:
    """The songs of the folders that are there, with their keys as tags ``key:Eb minor``.

    The training set has the songs with one key of the highest confidence; its validation split is that of jukemir.
    """

    def __init__(self, uri: str, config: GiantstepsConfig) -> None:
        """
        Args:
            uri: Path or URI of the folder that contains the folders of the two data sets.
        """
        self._uri = uri
        self._name = f"giantsteps={uri}"

    def training_songs(self) -> list[GiantstepsSong]:
        """Returns the songs of the training set in the order of its ``annotations.txt``.

        Left out are those with a confidence (column C) below 2, the highest, and those with several keys.

        Raises:
            SourceError: A file is missing or damaged.
        """
        _, metadata = self._table("beatport_metadata.txt", ("ARTIST", "SONG TITLE", "MIX", "LABEL"))
        uri, annotations = self._table("annotations.txt", ("MANUAL KEY", "C"))
        splits = artist_splits([row.fields["ARTIST"] for row in metadata.values()])
        songs, damaged = [], DamagedLines(uri, _REMEDY)
        for song_id, row in annotations.items():
            confidence, key = row.fields["C"], row.fields["MANUAL KEY"]
            try:
                if confidence not in ("0", "1", "2"):
                    raise ValueError(f"the confidence C is {confidence!r:.80}, not 0, 1 or 2")
                if song_id not in metadata:
                    raise ValueError(f"song {song_id} is not in beatport_metadata.txt")
                if confidence == "2" and "/" not in key:
                    song = metadata[song_id].fields
                    songs.append(_training_song(song_id, splits[song["ARTIST"]], key_name(key), song))
            except ValueError as error:
                damaged.add(row.line, str(error))
        if faults := damaged.faults():
            raise SourceError(self._name, faults)
        return songs

    def _table(self, file: str, columns: tuple[str, ...]) -> tuple[str, dict[int, NumberedRow]]:
        """Returns the URI of a table of the training set, and its rows by song."""
        uri = filesystem.join(self._uri, TRAIN_FOLDER, "annotations", file)
        return uri, rows_by_number(self._name, uri, "ID", columns, delimiter="\t", remedy=_REMEDY)

    def test_songs(self) -> list[GiantstepsSong]:
        """Returns the songs of the test set by id, from ``annotations/key/<id>.LOFI.key``.

        Raises:
            SourceError: There are no such files, or some are damaged.
        """
        folder = filesystem.join(self._uri, TEST_FOLDER, "annotations", "key")
        try:
            names = files_below(folder, lambda path: _KEY_FILE.fullmatch(path) is not None)
        except (FileNotFoundError, NotADirectoryError):
            names = {}
        if not names:
            raise SourceError(self._name, [f"there are no files ID.LOFI.key in {folder}; {_REMEDY}"])
        files = {int(name.partition(".")[0]): filesystem.join(folder, name) for name in names}
        contents = filesystem.read_ranges(list(files.values()), [0] * len(files), [_MAX_KEY_BYTES] * len(files))
        songs, faults = [], []
        for (song_id, uri), content in zip(files.items(), contents, strict=True):
            if isinstance(content, Exception):
                raise content
            try:
                songs.append(GiantstepsSong(song_id, "test", key_name(content.decode(errors="replace").strip())))
            except ValueError as error:
                faults.append(at_line(uri, 1, f"{error}; {_REMEDY}"))
        if faults:
            raise SourceError(self._name, faults)
        return sorted(songs, key=lambda song: song.song_id)

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the songs whose audio is there: those of the training set, then those of the test set.

        Raises:
            SourceError: There is neither folder, or a file is missing or damaged.
        """
        present = filesystem.names_in(self._uri)
        if TRAIN_FOLDER not in present and TEST_FOLDER not in present:
            fault = f"there is neither {TRAIN_FOLDER} nor {TEST_FOLDER} in {self._uri}; clone the repositories there"
            raise SourceError(self._name, [fault])
        if TRAIN_FOLDER in present:
            yield from _found(self.training_songs(), self._audio(TRAIN_FOLDER), faults)
        if TEST_FOLDER in present:
            yield from _found(self.test_songs(), self._audio(TEST_FOLDER), faults)

    def _audio(self, folder: str) -> AudioFiles:
        uri = filesystem.join(self._uri, folder, "audio")
        return list_audio(self._name, uri, remedy=f"run audio_dl.sh in {folder}")


def key_name(key: str) -> str:
    """Returns the name of a key among the 24 that are used: ``D# minor`` becomes ``Eb minor``.

    Raises:
        ValueError: It is not one of the 24 keys.
    """
    match = _KEY.fullmatch(key)
    tonic = _FLATS.get(match[1], match[1]) if match else ""
    if match is None or tonic not in TONICS:
        raise ValueError(f"{key!r:.80} is not a key such as 'Eb minor'")
    return f"{tonic} {match[2]}"


def _training_song(song_id: int, split: str, key: str, fields: Mapping[str, str]) -> GiantstepsSong:
    mix = f" ({fields['MIX']})" if fields["MIX"] else ""
    return GiantstepsSong(song_id, split, key, fields["SONG TITLE"] + mix, fields["ARTIST"], fields["LABEL"])


def _found(songs: list[GiantstepsSong], audio: AudioFiles, faults: Faults) -> Iterator[FoundRecording]:
    for song in songs:
        recording_id, path = str(song.song_id), f"{song.song_id}.LOFI.mp3"
        location = audio.find(path)
        if location is None:
            faults.missing(recording_id, filesystem.join(audio.uri, path))
            continue
        yield FoundRecording(
            recording_id=recording_id,
            audio=location,
            split=song.split,
            tags=[f"key:{song.key}"],
            title=song.title,
            artist=song.artist,
            channel=song.label,
            provenance=f"GiantSteps key, Beatport {song.song_id}",
        )
