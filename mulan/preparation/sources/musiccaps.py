"""MusicCaps (Agostinelli et al. 2023): captions and aspects that musicians wrote for 10 s clips of AudioSet."""

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mulan.config.base import Section
from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.audioset_segments import SPREADSHEET_ERROR
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_files import dict_rows, read_official
from mulan.preparation.sources.youtube_names import YOUTUBE_ID, ClipFiles
from mulan.storage import filesystem

TABLE = "musiccaps-public.csv"
REMEDY = f"get {TABLE} again from huggingface.co/datasets/google/MusicCaps"
LICENCE = "captions CC BY-SA 4.0 (Google), audio of the uploader of the video"

_COLUMNS = ("ytid", "start_s", "end_s", "aspect_list", "caption", "is_audioset_eval")


class MusicCapsConfig(Section):
    """The source ``musiccaps``: a folder with ``musiccaps-public.csv`` and audio files."""

    full_videos: bool = False
    """Whether files that are named by nothing but the id are whole videos, of which the clip is a part. Files whose
    names state a time contain only the clip."""


@dataclass(frozen=True)
class CaptionedClip:
    """A row of the table."""

    youtube_id: str
    """Id of the video."""
    start_s: float
    """Start of the clip in the video, in seconds."""
    end_s: float
    """End of the clip in the video, in seconds."""
    caption: str
    """What a musician wrote about the clip: sentences, with ``\\n`` between lines."""
    aspects: tuple[str, ...]
    """Short descriptions of the clip."""
    is_audioset_eval: bool
    """Whether the clip is of AudioSet's evaluation table; the others are of its balanced training table."""


class MusicCapsSource:
    """The clips of MusicCaps as recordings: captions are texts of ``long_form``, aspects texts of ``short_form``.

    The audio is found in any folder below that of the table, by the names of :class:`ClipFiles`. Clips of AudioSet's
    evaluation table are the split ``test``, the others are ``train``. Aspects are no tags, because tags are classes,
    and most of the 13,219 different aspects describe a single clip.
    """

    def __init__(self, uri: str, config: MusicCapsConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the folder.
            config: The settings.
        """
        self._uri, self._config, self._name = uri, config, f"musiccaps={uri}"

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the clips with audio in the order of the table.

        Raises:
            SourceError: The table is missing or damaged: lists all damaged lines.
        """
        uri = filesystem.join(self._uri, TABLE)
        clips = captioned_clips(self._name, uri, read_official(self._name, uri, remedy=REMEDY))
        files = ClipFiles(AudioFiles.below(self._uri))
        for clip in clips:
            file = files.find(clip.youtube_id, clip.start_s)
            if file is None:
                faults.missing(clip.youtube_id, files.looked_for(clip.youtube_id))
                continue
            is_part = self._config.full_videos and not file.is_cut
            yield FoundRecording(
                recording_id=clip.youtube_id,
                audio=file.location,
                split="test" if clip.is_audioset_eval else "train",
                texts={"long_form": [clip.caption], "short_form": clip.aspects},
                start_s=clip.start_s if is_part else None,
                end_s=clip.end_s if is_part else None,
                provenance=f"MusicCaps, YouTube {clip.youtube_id}, {clip.start_s:g}-{clip.end_s:g} s",
                licence=LICENCE,
            )


def captioned_clips(source: str, uri: str, text: str) -> list[CaptionedClip]:
    """Reads the table, in which lines within quoted captions may end in another way than the rows.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file, for messages.
        text: Content of the file.

    Raises:
        SourceError: The table is damaged: lists all damaged lines.
    """
    lines, clips, seen = DamagedLines(uri, REMEDY), [], set[str]()
    for line, row in dict_rows(source, uri, text, _COLUMNS, remedy=REMEDY):
        try:
            clip = _clip(row)
        except ValueError as error:
            lines.add(line, str(error))
            continue
        if clip.youtube_id in seen:
            lines.add(line, "the video was listed before")
        seen.add(clip.youtube_id)
        clips.append(clip)
    if not seen and not lines.faults():
        lines.add(1, "the table has no usable rows")
    if faults := lines.faults():
        raise SourceError(source, faults)
    return clips


def _clip(row: Mapping[str, str]) -> CaptionedClip:
    """Parses a row.

    Raises:
        ValueError: The row is damaged. The message is the same for all rows with the same defect.
    """
    youtube_id, is_eval = row["ytid"], row["is_audioset_eval"].strip().lower()
    if youtube_id == SPREADSHEET_ERROR:
        raise ValueError(f"a spreadsheet has replaced the id, which began with a hyphen, by {SPREADSHEET_ERROR}")
    if not YOUTUBE_ID.fullmatch(youtube_id):
        raise ValueError("ytid is not the id of a YouTube video")
    try:
        start_s, end_s = float(row["start_s"]), float(row["end_s"])
    except ValueError as error:
        raise ValueError("start_s and end_s are not numbers of seconds") from error
    if not (0 <= start_s < end_s < math.inf):
        raise ValueError("start_s and end_s are not the times of a clip")
    if is_eval not in ("true", "false"):
        raise ValueError("is_audioset_eval is neither True nor False")
    caption = row["caption"].replace("\r\n", "\n")
    return CaptionedClip(youtube_id, start_s, end_s, caption, _aspects(row["aspect_list"]), is_eval == "true")


def _aspects(literal: str) -> tuple[str, ...]:
    """Parses a list of strings as Python writes it, some in single and some in double quotes."""
    try:
        aspects = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("aspect_list is not a list as Python writes it") from error
    if not (isinstance(aspects, list) and all(isinstance(aspect, str) for aspect in aspects)):
        raise ValueError("aspect_list is not a list of strings")
    return tuple(aspects)
