"""MagnaTagATune: 25,863 clips of 29 s with 188 tags that players of a game agreed on (Law et al. 2009)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError, at_line
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.official_audio import list_audio
from mulan.preparation.sources.official_files import dict_rows, read_official
from mulan.storage import filesystem
from mulan.vocabularies.vocabulary import vocabulary

ANNOTATIONS = "annotations_final.csv"
CLIPS = "clip_info_final.csv"

TOP_50 = tuple(tag.removeprefix("mtat:") for tag in vocabulary("mtat_top50").tags)
"""The 50 most frequent tags of all clips, in the order of the literature; three pairs of them are equally frequent."""

CORRUPT = frozenset({"35644", "55753", "57881"})
"""Ids of the clips whose official files cannot be decoded, all of them for training."""

_SPLITS = dict.fromkeys("0123456789ab", "train") | {"c": "validation"} | dict.fromkeys("def", "test")
"""Official splits by the folder of a clip's file."""
_PATH = re.compile(r"[0-9a-f]/[^/\\]+\.mp3")
_COLUMNS = ("clip_id", "track_number", "title", "artist", "album", "url", "mp3_path")
_REMEDY = "get it from https://mirg.city.ac.uk/datasets/magnatagatune"


class MtatConfig(Section):
    """The importer of MagnaTagATune."""

    tags: Literal["top50", "all"] = "top50"
    """Which tags are kept: the 50 most frequent ones, on which most results are reported, or all 188."""
    test_set: Literal["annotated", "tagged"] = "annotated"
    """Which clips are kept: all, of which 5,329 are for testing, or those with at least one of the kept tags, of which
    4,332 are for testing with the top 50 and 4,462 with all tags. It applies to all splits. Both sets are used in the
    literature; average precision differs by 4 to 8 percent between them, so that it must not be compared."""


@dataclass(frozen=True)
class MtatClip:
    """A clip with its annotations, whether its audio is there or not."""

    clip_id: str
    """Official id, such as ``2``."""
    path: str
    """Path of its file in the official folders, such as ``f/artist-album-01-title-30-59.mp3``."""
    split: str
    """``train``, ``validation`` or ``test``."""
    tags: tuple[str, ...]
    """Kept tags without their category, in the order of :data:`TOP_50` or of the columns."""
    title: str
    artist: str
    album: str
    song: tuple[str, str]
    """URL of the album, and number of the track in it, which together identify the song that it is cut from."""


class MtatSource:
    """Clips of MagnaTagATune, with tags such as ``mtat:no vocals``, split by folder as all of the literature does.

    The folder contains ``annotations_final.csv``, ``clip_info_final.csv`` and, there or in a folder of it, the folders
    ``0`` to ``f`` of the recordings.
    """

    def __init__(self, uri: str, config: MtatConfig) -> None:
        """
        Args:
            uri: Folder or URI of the data set.
            config: Which clips and tags.
        """
        self._uri, self._name, self._config = uri, f"mtat={uri}", config

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the clips whose audio is there, in the order of the annotations.

        The three corrupt clips are passed to ``faults``, as are those of ``clip_info_final.csv`` without annotations.

        Raises:
            SourceError: There is no such folder, or a table is missing or damaged.
        """
        files = list_audio(self._name, self._uri, remedy="name the folder of the recordings")
        for clip in self.clips(faults):
            if clip.clip_id in CORRUPT:
                faults.add("known to be corrupt", f"{clip.clip_id}: {clip.path} cannot be decoded")
                continue
            audio = files.find_anywhere(clip.path)
            if audio is None:
                faults.missing(clip.clip_id, filesystem.join(self._uri, clip.path))
                continue
            yield FoundRecording(
                recording_id=clip.clip_id,
                audio=audio,
                split=clip.split,
                tags=tuple(f"mtat:{tag}" for tag in clip.tags),
                title=clip.title,
                artist=clip.artist,
                channel=clip.album,
                provenance=" track ".join(clip.song),
            )

    def clips(self, faults: Faults) -> Iterator[MtatClip]:
        """Yields the annotated clips, whether their audio is there or corrupt, in the order of the annotations.

        Args:
            faults: Counts the clips of ``clip_info_final.csv`` that have a file but no annotations.

        Raises:
            SourceError: A table is missing or damaged. Clips before or beside the damage may have been yielded.
        """
        described = self._described()
        uri = filesystem.join(self._uri, ANNOTATIONS)
        columns = ["clip_id", *(TOP_50 if self._config.tags == "top50" else ()), "mp3_path"]
        text = read_official(self._name, uri, remedy=_REMEDY)
        seen: set[str] = set()
        damaged: list[str] = []
        for line, row in dict_rows(self._name, uri, text, columns, delimiter="\t", remedy=_REMEDY):
            clip_id, path = row.pop("clip_id"), row.pop("mp3_path")
            fault = _fault_of(clip_id, path, row, described, seen)
            if fault is not None:
                damaged.append(at_line(uri, line, f"{fault}; {_REMEDY}"))
                continue
            seen.add(clip_id)
            tags = tuple(tag for tag in (TOP_50 if self._config.tags == "top50" else row) if row[tag] == "1")
            if tags or self._config.test_set == "annotated":
                yield _clip(clip_id, path, tags, described[clip_id])
        if damaged:
            raise SourceError(self._name, damaged)
        for clip_id, fields in described.items():
            if clip_id not in seen:
                faults.add("not annotated", f"{clip_id}: {ANNOTATIONS} does not contain {fields[-1]}")

    def _described(self) -> dict[str, tuple[str, ...]]:
        """Returns the columns of the table of clips by their ids, for all clips that have a file."""
        uri = filesystem.join(self._uri, CLIPS)
        text = read_official(self._name, uri, remedy=_REMEDY)
        rows = dict_rows(self._name, uri, text, _COLUMNS, delimiter="\t", remedy=_REMEDY)
        return {row["clip_id"]: tuple(row[name] for name in _COLUMNS[1:]) for _, row in rows if row["mp3_path"]}


def _clip(clip_id: str, path: str, tags: tuple[str, ...], fields: Sequence[str]) -> MtatClip:
    track_number, title, artist, album, url, _ = fields
    return MtatClip(clip_id, path, _SPLITS[path[0]], tags, title, artist, album, (url, track_number))


def _fault_of(
    clip_id: str, path: str, values: dict[str, str], described: dict[str, tuple[str, ...]], seen: set[str]
) -> str | None:
    """Returns what is wrong with a row of the annotations; None if nothing is."""
    if not _PATH.fullmatch(path):
        return f"{path[:100]!r} is no path like f/name.mp3"
    if clip_id in seen:
        return f"clip {clip_id} is listed before"
    if clip_id not in described or described[clip_id][-1] != path:
        return f"{CLIPS} has no clip {clip_id} with the file {path}: one of the two tables is truncated or damaged"
    if set(values.values()) <= {"0", "1"}:
        return None
    tag, value = next((tag, value) for tag, value in values.items() if value not in ("0", "1"))
    return f"the column {tag} is {value[:100]!r}, neither 0 nor 1"
