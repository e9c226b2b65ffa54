"""GTZAN: 1,000 excerpts of 30 s in ten genres, of which the fault-filtered lists leave 930 (Tzanetakis and Cook 2002).

Many of the 1,000 are repeated, distorted or wrongly labelled (Sturm 2013, "The GTZAN dataset: its contents, its faults,
their effects on evaluation, and its future use"). The lists without them are those of Kereliuk, Sturm and Larsen (2015,
"Deep learning and music adversaries"), on which results are compared.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.official_audio import list_audio
from mulan.preparation.sources.official_files import read_official
from mulan.storage import filesystem

_NUMBERS = {
    "train": {
        "blues": "29-49 73-97",
        "classical": "30-33 43-48 50-67 80-99",
        "country": "19-26 28-29 65-99",
        "disco": "5 15-20 22-37 39-45 47 49 53-54 56-57 59 61 70 73-74 89",
        "hiphop": "2-25 28-29 31-38 41-42 55-61 77-80",
        "jazz": "0-1 11-24 41 47-72",
        "metal": "2-3 5 21 24 35 46-57 59-66 69 71-72 79-80 84 86 89-99",
        "pop": "2-9 11-12 16-20 23-29 31-36 38-42 44 46 49-50 80 97-99",
        "reggae": "0-2 4 6 9 11-12 14-32 42-45 49-51 54-60 63 69",
        "rock": "0-9 16-26 57-70 91-99",
    },
    "validation": {
        "blues": "0-11 50-60",
        "classical": "0-10 68-76",
        "country": "0-7 9-18 27 41-42 45 49",
        "disco": "0 2-4 6-14 46 48 52 67-68 72 75 90 95",
        "hiphop": "81-98",
        "jazz": "2-10 25-32",
        "metal": "0-1 6-11 16-20 36-37 68 76-77 81-82",
        "pop": "10 53 55 58-62 81 83-86",
        "reggae": "61-62 70 72 74 76-78 85 92-99",
        "rock": "38 49-56 71-85",
    },
    "test": {
        "blues": "12-28 61-72 98-99",
        "classical": "11-29 34-41 49 77-79",
        "country": "30-40 43-44 46-48 50-51 53-64",
        "disco": "1 21 58 62-66 69 76-88 91-94 96-97 99",
        "hiphop": "0 26-27 30 40 43-45 51-54 62-75 99",
        "jazz": "73-99",
        "metal": "12-15 22-23 25-33 38-39 67 70 73-75 78 83 85 87-88",
        "pop": "0-1 13-14 43 63-66 69-79 82 88-96",
        "reggae": "34-40 46-48 52-53 64-68 71 79 82-84 87-90",
        "rock": "10-15 27-37 39-48 86-90",
    },
}
"""Numbers of the excerpts by split and genre."""

GENRES = tuple(_NUMBERS["train"])
"""The genres, in alphabetical order."""

_FILES = {"train": ("train",), "validation": ("valid", "val"), "test": ("test",)}
"""Beginnings of the names of the lists by split: some copies call ``valid_filtered.txt`` ``val_filtered.txt``."""
_ENTRY = re.compile(r"(?:\./)?(?:([a-z]+)/)?([a-z]+)\.(\d{5})\.(?:wav|au|mp3|flac)")
_REMEDY = "get the lists from the folder gtzan of coreyker/dnn-mgr on GitHub, or remove them to use those of mulan"


class GtzanConfig(Section):
    """The importer of GTZAN."""

    lists: str = ""
    """Folder or URI with ``train_filtered.txt``, ``valid_filtered.txt`` (or ``val_filtered.txt``) and
    ``test_filtered.txt``; empty for those beside the recordings or, if there is none, the lists that mulan contains."""


@dataclass(frozen=True)
class GtzanExcerpt:
    """An excerpt in a list."""

    genre: str
    number: int
    """Number in its genre, from 0 to 99."""
    split: str
    """``train``, ``validation`` or ``test``."""

    @property
    def name(self) -> str:
        """Name of its file without the extension, such as ``blues.00029``."""
        return f"{self.genre}.{self.number:05d}"


class GtzanSource:
    """Excerpts of GTZAN in the fault-filtered lists, with a tag such as ``genre:blues`` each.

    The files, such as ``genres/blues/blues.00029.wav``, may be in any folder, and in any format. ``jazz.00054`` cannot
    be decoded in some copies.
    """

    def __init__(self, uri: str, config: GtzanConfig) -> None:
        """
        Args:
            uri: Folder or URI of the recordings.
            config: Where the lists are.
        """
        self._uri, self._name = uri, f"gtzan={uri}"
        self._lists = filesystem.absolute(config.lists) if config.lists else ""

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the excerpts whose audio is there, in the order of the lists.

        Raises:
            SourceError: There is no such folder, or a list is missing or damaged.
        """
        excerpts = self.excerpts()
        files = list_audio(self._name, self._uri, remedy="name the folder of the recordings")
        for excerpt in excerpts:
            audio = files.find_anywhere(f"{excerpt.name}.wav")
            if audio is None:
                faults.missing(excerpt.name, filesystem.join(self._uri, "genres", excerpt.genre, f"{excerpt.name}.wav"))
                continue
            yield FoundRecording(
                recording_id=excerpt.name,
                audio=audio,
                split=excerpt.split,
                tags=(f"genre:{excerpt.genre}",),
                provenance=f"GTZAN, {excerpt.name}",
            )

    def excerpts(self) -> list[GtzanExcerpt]:
        """Returns all excerpts of the lists, at most 1,000, whether their audio is there or not.

        Raises:
            SourceError: A list is missing or damaged.
        """
        names = set(filesystem.names_in(self._lists or self._uri))
        paths = {
            split: next((name for name in (f"{start}_filtered.txt" for start in starts) if name in names), "")
            for split, starts in _FILES.items()
        }
        if not self._lists and not any(paths.values()):
            return published_excerpts()
        return self._listed({split: path or f"{_FILES[split][0]}_filtered.txt" for split, path in paths.items()})

    def _listed(self, names: dict[str, str]) -> list[GtzanExcerpt]:
        found: dict[str, GtzanExcerpt] = {}
        damaged: list[str] = []
        for split, name in names.items():
            uri = filesystem.join(self._lists or self._uri, name)
            try:
                text = read_official(self._name, uri, remedy=_REMEDY)
            except SourceError as error:
                damaged += error.faults
                continue
            for number, line in enumerate(text.splitlines(), start=1):
                if not line.strip():
                    continue
                entry = _parsed(line.strip(), split)
                if isinstance(entry, GtzanExcerpt) and entry.name in found:
                    entry = f"{entry.name} is listed before, in {found[entry.name].split}"
                if isinstance(entry, str):
                    damaged.append(at_line(uri, number, f"{entry}; {_REMEDY}"))
                else:
                    found[entry.name] = entry
        if damaged:
            raise SourceError(self._name, damaged)
        return list(found.values())


def published_excerpts() -> list[GtzanExcerpt]:
    """Returns the 930 excerpts of the published lists: 443 for training, 197 for validation and 290 for testing."""
    return [
        GtzanExcerpt(genre, number, split)
        for split, genres in _NUMBERS.items()
        for genre, ranges in genres.items()
        for number in _numbers(ranges)
    ]


def _numbers(ranges: str) -> Iterator[int]:
    """Yields the numbers of ranges such as ``0-2 5``."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _parsed(line: str, split: str) -> GtzanExcerpt | str:
    """Returns the excerpt of a line, or what is wrong with it."""
    match = _ENTRY.fullmatch(line)
    if match is None:
        return f"{line[:100]!r} is not like blues/blues.00029.wav: the file is truncated or damaged"
    folder, genre, number = match.groups()
    if genre not in GENRES or folder not in (None, genre) or int(number) > 99:
        return f"GTZAN has no {line}"
    return GtzanExcerpt(genre, int(number), split)
