"""Labelled texts, from which the classifier of long-form texts is trained."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mulan.data.errors import MAX_FAULTS
from mulan.data.text import is_blank, is_unicode
from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.texts.tables import column_rows
from mulan.storage import filesystem

COLUMNS = ("text", "label")
MUSIC = frozenset({"1", "true", "yes", "music", "positive", "keep"})
OTHER = frozenset({"0", "false", "no", "other", "negative", "drop"})
"""Labels of texts that describe music, and of others; their case does not matter."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and whether they describe music."""

    texts: tuple[str, ...]
    """Distinct texts."""
    labels: tuple[bool, ...]
    """Whether each text describes music."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of texts that describe music (``music``) and of others (``other``)."""
        music = sum(self.labels)
        return {"music": music, "other": len(self.labels) - music}


def read_labels(uri: str, *, min_of_each: int) -> LabelledTexts:
    """Reads a table with the columns :data:`COLUMNS`.

    A text that occurs several times with the same label counts once.

    Args:
        uri: Path or URI of a CSV, TSV, JSON lines, Parquet or Arrow file.
        min_of_each: Minimum number of texts of each label.

    Raises:
        SourceError: The table does not exist or is damaged; a text is blank, not Unicode, or has two labels; a label is
            unknown; or there are too few texts of a label. Lists all faults with their lines.
        StorageError, StoragePermanentError: The table cannot be read.
    """
    uri = filesystem.absolute(uri)
    source = f"--labels {uri}"
    labels: dict[str, tuple[bool, int]] = {}
    faults: list[str] = []
    count = 0
    for line, row in column_rows(source, uri, COLUMNS):
        text, label = row["text"], _label(row["label"])
        fault = _fault(text, label, row["label"]) or _contradiction(labels.get(text.strip()), label)
        if fault:
            count += 1
            if count <= MAX_FAULTS:
                faults.append(at_line(uri, line, fault))
        elif label is not None:
            labels.setdefault(text.strip(), (label, line))
    if faults:
        raise SourceError(source, faults, count)
    numbers = Counter(label for label, _ in labels.values())
    for label, name in ((True, "music (1)"), (False, "other (0)")):
        if numbers[label] < min_of_each:
            faults.append(f"{numbers[label]} texts are labelled {name}; label at least {min_of_each}, better hundreds")
    if faults:
        raise SourceError(source, faults)
    return LabelledTexts(tuple(labels), tuple(label for label, _ in labels.values()))


def _label(written: Any) -> bool | None:
    """Returns a label, which may be written as a word, a number or a boolean; None if it is unknown."""
    word = str(int(written) if isinstance(written, float) and written.is_integer() else written).strip().casefold()
    return True if word in MUSIC else False if word in OTHER else None


def _fault(text: Any, label: bool | None, written: Any) -> str:
    if not isinstance(text, str) or not is_unicode(text) or is_blank(text):
        return "has no text, or one that is not Unicode; write it or remove the row"
    if label is None:
        return f"label {written!r:.40} is unknown; write 1 for texts that describe music and 0 for others"
    return ""


def _contradiction(earlier: tuple[bool, int] | None, label: bool | None) -> str:
    if earlier is None or earlier[0] == label:
        return ""
    return f"the same text has the other label in line {earlier[1]}; decide for one"
