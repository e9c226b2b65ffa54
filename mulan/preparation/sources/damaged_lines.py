"""The faults of the lines of one file, gathered so that one error names all of them."""

from mulan.data.errors import MAX_FAULTS
from mulan.preparation.faults import at_line

NAMED_LINES = 20
"""Number of lines that are named for each fault; the others are only counted."""


class DamagedLines:
    """The faults of the lines of one file: each fault once, with the lines that have it, in bounded memory."""

    def __init__(self, file: str, remedy: str) -> None:
        """
        Args:
            file: Path or URI of the file.
            remedy: What to do about the faults, for messages.
        """
        self._file, self._remedy = file, remedy
        self._lines: dict[str, list[int]] = {}
        self._counts: dict[str, int] = {}
        self._unnamed = 0

    def add(self, line: int, fault: str) -> None:
        """Adds a line, counted from 1, with what is wrong with it: the same words for all lines with the same defect.

        Of more than 20 different faults, the others are only counted.
        """
        if fault not in self._counts and len(self._counts) == MAX_FAULTS:
            self._unnamed += 1
            return
        self._counts[fault] = self._counts.get(fault, 0) + 1
        lines = self._lines.setdefault(fault, [])
        if len(lines) < NAMED_LINES:
            lines.append(line)

    def faults(self) -> list[str]:
        """Returns the faults in the order in which they were met, each in one line with the file and the remedy."""
        faults = [self._fault(fault, lines) for fault, lines in self._lines.items()]
        if self._unnamed:
            faults.append(f"{self._file}: {self._unnamed} more lines have other faults")
        return faults

    def _fault(self, fault: str, lines: list[int]) -> str:
        if len(lines) == 1:
            return at_line(self._file, lines[0], f"{fault}; {self._remedy}")
        named = ", ".join(map(str, lines))
        others = self._counts[fault] - len(lines)
        more = f" and {others} more" if others else ""
        return f"{self._file}, lines {named}{more}: {fault}; {self._remedy}"
