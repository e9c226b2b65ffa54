"""The split of a corpus whose recordings are scored."""

from dataclasses import dataclass, field, replace
from typing import Self


@dataclass(frozen=True)
class ScoredSplit:
    """What protocols have in common that score the recordings of one split."""

    split: str = field(default="test", kw_only=True)
    """Split of the recordings."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits whose audio is embedded."""
        return (self.split,)

    def on_split(self, split: str) -> Self:
        """Returns the same for the recordings of another split."""
        return replace(self, split=split)
