"""Exact search of vectors in memory, with many queries at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mulan.search.query import Filter, Query
from mulan.search.rows import VECTOR, IndexedRow
from mulan.search.table import Snapshot

_ROWS_AT_ONCE = 2**18
"""Number of rows whose similarities are in memory at once, for each query."""
_ROUNDING = 1e-5
"""Maximum difference of scores whose order float32 may change."""


class ExactSearch:
    """The vectors of all recordings, of which a search returns those that are nearest, without approximation."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._row_ids, self._durations_s = snapshot.row_ids, snapshot.durations_s
        self._vectors = torch.from_numpy(snapshot.vectors)
        self._rows_by_tag = _rows_by_tag(snapshot.tags)
        self._others = snapshot.others

    @property
    def has_rows(self) -> bool:
        """Whether rows are in memory, so that :meth:`take` returns them."""
        return self._others is not None

    def take(self, row_ids: np.ndarray) -> list[IndexedRow]:
        """Returns rows by where they are in the table, in this order."""
        assert self._others is not None
        places = np.searchsorted(self._row_ids, row_ids)
        values = self._others.take(pa.array(places)).to_pylist()
        vectors = self._vectors.numpy()[places]
        return [IndexedRow.of({**each, VECTOR: vector}) for each, vector in zip(values, vectors, strict=True)]

    def with_id(self, recording_id: str) -> IndexedRow | None:
        """Returns the row of a recording; None if there is none."""
        assert self._others is not None
        place = pc.index(self._others["recording_id"], recording_id).as_py()
        return None if place < 0 else self.take(self._row_ids[[place]])[0]

    def nearest(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """Returns for each query where the nearest rows are in the table, uint64, a few more than asked for.

        Products are computed in float32, and all queries share one pass over the vectors. Rows whose order the rounding
        could change are among the surplus, so that they can be ordered by exact scores; a query to which more rows are
        nearly equally near is repeated in float64.
        """
        most = max(query.candidates for query in queries)
        wanted = torch.from_numpy(np.stack([query.vector for query in queries]))
        masks = {each: self._mask(each) for each in {query.filter for query in queries} if not each.is_empty}
        scores = torch.empty((len(queries), 0))
        rows = torch.empty((len(queries), 0), dtype=torch.int64)
        for start in range(0, len(self._vectors), _ROWS_AT_ONCE):
            products = wanted @ self._vectors[start : start + _ROWS_AT_ONCE].T
            for number, query in enumerate(queries):
                if query.filter in masks:
                    left_out = ~masks[query.filter][start : start + _ROWS_AT_ONCE]
                    products[number].masked_fill_(torch.from_numpy(left_out), -torch.inf)
            best = products.topk(min(most, products.shape[1]), dim=1)
            scores, rows = torch.cat([scores, best.values], 1), torch.cat([rows, best.indices + start], 1)
        best = scores.topk(min(most, scores.shape[1]), dim=1)
        found = rows.gather(1, best.indices).numpy()
        nearest = []
        for query, places, own in zip(queries, found, best.values.numpy(), strict=True):
            places, own = places[: query.candidates], own[: query.candidates]
            is_close = len(own) > query.hits and own[-1] > max(-np.inf, own[query.hits - 1] - _ROUNDING)
            is_close = is_close and query.vector.any()  # without anything wanted, all rows are equally good
            nearest.append(self._row_ids[self._nearest_in_float64(query) if is_close else places[own > -np.inf]])
        return nearest

    def _nearest_in_float64(self, query: Query) -> np.ndarray:
        """Returns the numbers of the rows that are nearest to a query; of equal ones the first."""
        wanted, scores = query.vector.astype(np.float64), np.empty(len(self._vectors))
        for start in range(0, len(scores), _ROWS_AT_ONCE):
            scores[start : start + _ROWS_AT_ONCE] = (
                self._vectors[start : start + _ROWS_AT_ONCE].double().numpy() @ wanted
            )
        if not query.filter.is_empty:
            scores[~self._mask(query.filter)] = -np.inf
        best = np.argsort(-scores, kind="stable")[: query.candidates]
        return best[scores[best] > -np.inf]

    def _mask(self, conditions: Filter) -> np.ndarray:
        """Returns which rows meet conditions, bool [n]."""
        mask = (self._durations_s >= conditions.min_duration_s) & (self._durations_s <= conditions.max_duration_s)
        for tag in conditions.tags:
            having = np.zeros(len(mask), bool)
            having[self._rows_by_tag.get(tag, [])] = True
            mask &= having
        return mask


def _rows_by_tag(tags: pa.ListArray) -> dict[str, np.ndarray]:
    """Returns the rows that have each tag."""
    encoded = tags.flatten().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    parents = np.repeat(np.arange(len(tags)), np.diff(tags.offsets.to_numpy()))
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    return {
        tag: parents[order[bounds[code] : bounds[code + 1]]] for code, tag in enumerate(encoded.dictionary.to_pylist())
    }
