"""The recordings in a tar: which files belong together, and the ranges of bytes in which they are."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from mulan.data.corpus.records import audio_extension, is_audio, is_text
from mulan.data.corpus.tar_members import Entry, split_name
from mulan.data.errors import BadRecording


class Sample(NamedTuple):
    """The files of a tar that are a recording, or would be if none was missing."""

    key: str
    """Id of the recording: the common part of their names."""
    members: tuple[tuple[str, Entry], ...]
    """Extensions, all after the first dot of the name, and files, in the order of the tar."""

    def audio(self) -> Entry:
        """Returns the audio file.

        Raises:
            BadRecording: There is none, or there are several, or several files of the same name.
        """
        extensions = [extension for extension, _ in self.members]
        if len(set(extensions)) < len(extensions):
            repeated = [extension for extension in extensions if extensions.count(extension) > 1]
            raise BadRecording("not one recording", f"there are several {self.key}.{repeated[0]}")
        wanted = audio_extension(self.key, extensions)
        return next(entry for extension, entry in self.members if extension == wanted)

    def texts(self) -> Iterator[tuple[str, Entry]]:
        """Yields the extensions and files with texts and tags."""
        return ((extension, entry) for extension, entry in self.members if is_text(extension))

    def ranges(self, audio: Entry) -> list[tuple[int, int]]:
        """Returns offset and length of the ranges of bytes that contain the audio and the texts, with their headers.

        Files between them that belong to the recording, or to none, do not divide a range.

        Args:
            audio: What :meth:`audio` returns.
        """
        needed = {audio.number, *(entry.number for _, entry in self.texts())}
        ranges = []
        for run in _runs(entry for _, entry in self.members):
            kept = [entry for entry in run if entry.number in needed]
            if kept:
                ranges.append((kept[0].header, kept[-1].end - kept[0].header))
        return ranges


def samples(entries: Iterable[Entry]) -> Iterator[Sample]:
    """Yields the recordings of a tar, in the order of their first files.

    Files with the same key of WebDataset are a recording, wherever they are in the tar. If several of them are audio,
    the key is their name up to the last dot instead: ``v1.0.flac`` and ``v1.1.flac`` are two recordings. If files have
    the same name, each group of adjacent ones is a recording.

    Args:
        entries: Files of the tar, in order.
    """
    by_key: dict[str, list[tuple[str, Entry]]] = {}
    for entry in entries:
        split = split_name(entry.name)
        if split is not None:
            by_key.setdefault(split[0], []).append((sys.intern(split[1]), entry))
    for key in list(by_key):
        members = by_key.pop(key)  # so that the memory of a large tar is freed meanwhile
        parts = {key: members}
        stems = [_stem(entry) for extension, entry in members if is_audio(extension)]
        if len(set(stems)) > 1:
            parts = {}
            for extension, entry in members:
                parts.setdefault(_stem(entry), []).append((extension, entry))
        for part_key, part in parts.items():
            for sample in _without_repetition(part):
                yield Sample(part_key, tuple(sample))


def _stem(entry: Entry) -> str:
    return entry.name.rpartition(".")[0]


def _without_repetition(members: Sequence[tuple[str, Entry]]) -> Iterator[Sequence[tuple[str, Entry]]]:
    if len({extension for extension, _ in members}) == len(members):
        yield members
        return
    extensions = {entry.number: extension for extension, entry in members}
    for run in _runs(entry for _, entry in members):
        yield [(extensions[entry.number], entry) for entry in run]


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yields the groups of adjacent files."""
    for _, run in groupby(enumerate(entries), lambda item: item[1].number - item[0]):
        yield [entry for _, entry in run]
