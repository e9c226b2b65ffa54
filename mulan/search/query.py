"""Queries: what is wanted and what is not, as one vector, and which recordings are considered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.search.errors import UnusableQuery

MAX_HITS = 1000
"""Maximum number of recordings that a search returns."""
_SURPLUS = 4
"""Number of recordings that are compared in addition: one may be left out, others may have nearly equal scores."""


@dataclass(frozen=True)
class Filter:
    """The recordings that a search considers: those that meet all conditions."""

    tags: tuple[str, ...] = ()
    """Tags, ``category:text``, all of which they have."""
    min_duration_s: float = 0.0
    """Minimum duration in seconds."""
    max_duration_s: float = math.inf
    """Maximum duration in seconds."""

    def __post_init__(self) -> None:
        # NaN fails every comparison
        if not 0 <= self.min_duration_s <= self.max_duration_s:
            raise UnusableQuery(
                f"no recording has a duration from {self.min_duration_s:g} to {self.max_duration_s:g} s; the first "
                "number must be at least 0 and at most the second"
            )

    @property
    def is_empty(self) -> bool:
        """Whether it considers all recordings."""
        return self == Filter()

    def sql(self) -> str:
        """Returns the conditions as an expression of SQL, in which texts from outside are quoted; empty if none."""
        conditions = []
        if self.tags:
            conditions.append(f"array_has_all(tags, [{', '.join(map(quoted, self.tags))}])")
        if self.min_duration_s > 0:
            conditions.append(f"duration_s >= {self.min_duration_s!r}")
        if self.max_duration_s < math.inf:
            conditions.append(f"duration_s <= {self.max_duration_s!r}")
        return " AND ".join(conditions)


@dataclass(frozen=True, eq=False)
class Query:
    """A query to an index."""

    vector: np.ndarray
    """What it looks for, float32 [d], of any length: recordings are ranked by their product with it."""
    hits: int = 10
    """Number of recordings that it asks for, from 1 to :data:`MAX_HITS`."""
    filter: Filter = Filter()
    """The recordings that are considered."""
    without: str = ""
    """Id of a recording that is not returned, such as the one that others shall sound like."""
    by_window: bool = False
    """Whether recordings are ranked by the window that matches best, among the :data:`MAX_HITS` that match best as a
    whole."""

    def __post_init__(self) -> None:
        if not 1 <= self.hits <= MAX_HITS:
            raise UnusableQuery(f"{self.hits} recordings are asked for; ask for 1 to {MAX_HITS}")

    @property
    def candidates(self) -> int:
        """Number of recordings among which the best ones are found by their stored vectors."""
        return (MAX_HITS if self.by_window else self.hits) + _SURPLUS


def combined(wanted: Sequence[np.ndarray], unwanted: Sequence[np.ndarray] = (), *, dim: int) -> np.ndarray:
    """Combines the vectors of what is wanted and what is not to the vector of a query, float32 [dim].

    The product of a recording's unit vector with it is its mean similarity to what is wanted, minus its mean similarity
    to what is not wanted. That is how recordings are scored, so the order is exact. Without any of both it is zero, and
    all recordings are equally good.

    Args:
        wanted: Unit vectors [dim] of texts or recordings.
        unwanted: Unit vectors [dim] of texts or recordings.
        dim: Number of values of a vector.
    """
    means = [np.mean(np.asarray(rows, np.float64), axis=0) if rows else np.zeros(dim) for rows in (wanted, unwanted)]
    return np.asarray(means[0] - means[1], np.float32)


def quoted(text: str) -> str:
    """Returns a text as a literal of SQL, in which nothing but a doubled quote is special."""
    return "'" + text.replace("'", "''") + "'"
