"""Reading of AudioSet's tables of segments and of classes (Gemmeke et al. 2017), whose damaged copies are named.

A table of segments begins with three comment lines. The second one states how much the table contains, which is how a
truncated copy is noticed. Copies without these lines are read too, as nothing else is lost with them.
"""

import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_files import csv_rows
from mulan.preparation.sources.streamed_files import lines_of, text_chunks
from mulan.preparation.sources.youtube_names import YOUTUBE_ID

REMEDY = "download it again from research.google.com/audioset/download.html"
"""What to do about a damaged table, for messages."""

MAX_SEGMENT_S = 10
"""Maximum duration of a segment in seconds."""

SPREADSHEET_ERROR = "#NAME?"
"""What spreadsheets make of an id that begins with a hyphen, because they read it as a formula."""

_COLUMNS = 4
_INCOMPLETE = f"fewer than {_COLUMNS} fields: the row is incomplete"
_CLAIM = re.compile(r"\b(num_\w+)=(\d+)")


@dataclass(frozen=True)
class Segment:
    """A segment of a video, at most 10 s, and its labels."""

    youtube_id: str
    """Id of the video."""
    start_s: float
    """Start of the segment in the video, in seconds."""
    end_s: float
    """End of the segment in the video, in seconds."""
    labels: tuple[str, ...]
    """Machine ids of its classes, such as ``/m/04rlf``, at least one."""


def class_names(source: str, uri: str, text: str) -> dict[str, str]:
    """Reads ``class_labels_indices.csv``: returns the display name of each class by its machine id, in their order.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file, for messages.
        text: Content of the file.

    Raises:
        SourceError: The table is damaged: lists all rows with another number of fields, which names with commas and
            without quotes have, with an index that does not follow the previous one, or with a repeated class.
    """
    lines, names = DamagedLines(uri, REMEDY), dict[str, str]()
    rows = csv_rows(source, uri, text, remedy=REMEDY)
    line, header = next(rows)
    if [name.strip() for name in header] != ["index", "mid", "display_name"]:
        raise SourceError(source, [at_line(uri, line, f"the header is not index,mid,display_name; {REMEDY}")])
    for index, (line, row) in enumerate(rows):
        if len(row) != 3:
            lines.add(line, "not 3 fields: the quotes around names with commas are lost")
        elif row[0] != str(index):
            lines.add(line, "the index does not follow that of the previous row")
        elif row[1] in names or row[2] in names.values():
            lines.add(line, "the class is listed a second time")
        else:
            names[row[1]] = row[2]
    if faults := lines.faults():
        raise SourceError(source, faults)
    return names


@dataclass
class _Content:
    """What a table contains, in the terms of its comments."""

    segments: int = 0
    videos: int = 0
    labels: int = 0
    classes: set[str] = field(default_factory=set)

    def add(self, segment: Segment) -> None:
        self.videos += 1
        self.labels += len(segment.labels)
        self.classes.update(segment.labels)

    def by_claim(self) -> dict[str, int]:
        return {
            "num_ytids": self.videos,
            "num_segs": self.segments,
            "num_unique_labels": len(self.classes),
            "num_positive_labels": self.labels,
        }


class SegmentTable:
    """A table of segments, such as ``eval_segments.csv``: checked first, then iterated over."""

    def __init__(self, source: str, uri: str) -> None:
        """
        Args:
            source: The source, as ``KIND=PATH``, for messages.
            uri: Path or URI of the file.
        """
        self._source, self.uri = source, uri

    def __iter__(self) -> Iterator[Segment]:
        """Yields the segments in their order.

        Raises:
            SourceError, ValueError: The table is damaged. :meth:`faults` lists in what way.
        """
        return (_segment(row) for _, row in self._rows() if not _is_header(row))

    def faults(self, classes: Container[str], seen: set[str]) -> list[str]:
        """Returns everything that is wrong with the table, each fault in one line.

        Args:
            classes: Machine ids of all classes.
            seen: Ids of the videos of other tables, to which those of this one are added.
        """
        lines, content = DamagedLines(self.uri, REMEDY), _Content()
        last_line, incomplete = 1, 0
        claimed, claim_line = dict[str, int](), 0
        try:
            for last_line, row in self._rows():
                if _is_header(row):
                    if claims := _CLAIM.findall(",".join(row)):
                        claimed, claim_line = {name: int(count) for name, count in claims}, last_line
                    continue
                if incomplete:
                    lines.add(incomplete, _INCOMPLETE)
                content.segments += 1
                incomplete = last_line if len(row) < _COLUMNS else 0
                if not incomplete:
                    for fault in self._row_faults(row, content, classes, seen):
                        lines.add(last_line, fault)
        except SourceError as error:  # a quoted field that never ends
            return [*lines.faults(), *error.faults]
        complete = content.segments - bool(incomplete)
        if complete < claimed.get("num_segs", 0):  # that its last row may be incomplete says nothing more
            ends = (
                f"the table ends after {complete} of the {claimed['num_segs']} segments that line {claim_line} states"
            )
            return [*lines.faults(), at_line(self.uri, last_line, f"{ends}: it is truncated; {REMEDY}")]
        if incomplete:
            lines.add(incomplete, _INCOMPLETE)
        elif not content.segments:
            lines.add(last_line, "the table has no rows")
        return lines.faults() or [
            at_line(self.uri, claim_line, f"{name}={claimed[name]}, but the table has {count}; {REMEDY}")
            for name, count in content.by_claim().items()
            if claimed.get(name, count) != count
        ]

    def _row_faults(
        self, row: Sequence[str], content: _Content, classes: Container[str], seen: set[str]
    ) -> Iterator[str]:
        try:
            segment = _segment(row)
        except ValueError as error:
            yield str(error)
            return
        if segment.youtube_id in seen:
            yield "the video was listed before"
        for label in segment.labels:
            if label not in classes:
                yield f"its label {label} is not in class_labels_indices.csv"
        seen.add(segment.youtube_id)
        content.add(segment)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        lines = lines_of(text_chunks(self._source, self.uri, remedy=REMEDY))
        return csv_rows(self._source, self.uri, lines, skipinitialspace=True, remedy=REMEDY)


def _is_header(row: Sequence[str]) -> bool:
    """Returns whether a row is a comment or the header, whose number sign is missing in some copies."""
    return row[0].startswith("# ") or row[0] == "YTID"


def _segment(row: Sequence[str]) -> Segment:
    """Parses a row of a table of segments.

    Raises:
        ValueError: The row is damaged. The message is the same for all rows with the same defect.
    """
    if len(row) != _COLUMNS:
        raise ValueError(f"more than {_COLUMNS} fields: the quotes around its labels are lost")
    youtube_id, start, end, labels = row
    if youtube_id == SPREADSHEET_ERROR:
        raise ValueError(f"a spreadsheet has replaced the id, which began with a hyphen, by {SPREADSHEET_ERROR}")
    if not YOUTUBE_ID.fullmatch(youtube_id):
        raise ValueError("the first field is not the id of a YouTube video")
    try:
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise ValueError("start and end are not numbers of seconds") from error
    if not (math.isfinite(start_s) and 0 <= start_s < end_s <= start_s + MAX_SEGMENT_S + 0.001):
        raise ValueError(
            f"start and end are not those of at most {MAX_SEGMENT_S} s; with 30000 for 30.000, a spreadsheet took the "
            "point for a separator of thousands"
        )
    mids = tuple(label.strip() for label in labels.split(","))
    if not all(mids):
        raise ValueError("it has no label, or an empty one")
    return Segment(youtube_id, start_s, end_s, mids)
