"""Exact search of vectors in memory, with many queries at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from mulan.search.query import Filter, Query
from mulan.search.rows import VECTOR, IndexedRow
from mulan.search.table import Snapshot

_ROWS_AT_ONCE = 2**18
"""Number of rows whose similarities are in memory at once, for each query."""


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

    def nearest(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """Returns for each query where the nearest rows are in the table, uint64, a few more than asked for.

        Products are computed in float32, and all queries share one pass over the vectors. Rows whose order that could
        change are among the surplus, so that they can be ordered by exact scores.
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
        return [
            self._row_ids[row[: query.candidates][row_scores[: query.candidates] > -np.inf]]
            for query, row, row_scores in zip(queries, found, best.values.numpy(), strict=True)
        ]

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
