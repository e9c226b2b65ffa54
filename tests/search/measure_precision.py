"""Measures how well words find recordings by their tags: ``python -m tests.search.measure_precision --index URI``.

For all pairs of tags of two categories that enough recordings have, such as ``rock organ``, it searches for the words
of both, and prints which share of the best recordings has both tags, against chance.
"""

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mulan.data.corpus.metadata import split_tag
from mulan.search.index import SearchIndex
from mulan.search.model import QueryModel
from mulan.search.query import Query, combined
from mulan.search.rows import IndexedRow
from mulan.search.table import RecordingTable

MIN_RECORDINGS = 5
"""Minimum number of recordings that have both tags of a pair."""
BEST = 5
"""Number of recordings whose tags are looked at."""


@dataclass(frozen=True)
class Precision:
    """How well words find recordings with both tags of a pair."""

    pair: tuple[str, str]
    """The tags, ``category:text``."""
    share: float
    """Share of the best recordings that have both."""
    chance: float
    """Share of all recordings that have both."""


def pairs_of(tags: Sequence[Iterable[str]], *, min_recordings: int = MIN_RECORDINGS) -> dict[tuple[str, str], int]:
    """Returns the pairs of tags of two categories that enough recordings have, with the number of those recordings.

    >>> pairs_of([["mood:calm", "genre:jazz", "genre:folk"]], min_recordings=1)
    {('genre:folk', 'mood:calm'): 1, ('genre:jazz', 'mood:calm'): 1}
    """
    counts: Counter[tuple[str, str]] = Counter()
    for own in tags:
        for one, other in itertools.combinations(sorted(set(own)), 2):
            if split_tag(one)[0] != split_tag(other)[0]:
                counts[one, other] += 1
    return {pair: count for pair, count in sorted(counts.items()) if count >= min_recordings}


def words_of(pair: tuple[str, str]) -> tuple[str, str]:
    """Returns the words of two tags, without their categories."""
    return split_tag(pair[0])[1], split_tag(pair[1])[1]


def precisions(
    pairs: dict[tuple[str, str], int], tags: dict[str, Iterable[str]], find: Callable[[tuple[str, str]], list[str]]
) -> list[Precision]:
    """Returns how well each pair of tags is found.

    Args:
        pairs: The pairs, with the numbers of recordings that have both.
        tags: The tags of all recordings by id.
        find: Returns the ids of the best recordings for the words of a pair.
    """
    found = []
    for pair, count in pairs.items():
        best = find(words_of(pair))[:BEST]
        hits = sum(set(pair) <= set(tags[name]) for name in best)
        found.append(Precision(pair, hits / BEST, count / len(tags)))
    return found


def rows_of(uri: str) -> list[IndexedRow]:
    """Returns all recordings of an index, in the order of their ids."""
    table = RecordingTable.open(uri)
    ids = sorted(table.column("recording_id").to_pylist())
    rows = table.with_ids(ids)
    return [rows[name] for name in ids]


def ranking(rows: Sequence[IndexedRow], query: np.ndarray) -> list[str]:
    """Returns the ids of recordings, the best one first, by brute force in float64."""
    scores = np.stack([row.vector for row in rows]).astype(np.float64) @ query.astype(np.float64)
    return [rows[number].recording_id for number in np.argsort(-scores, kind="stable")]


def measured(index_uri: str, model_uri: str | None, *, as_one_text: bool) -> list[Precision]:
    """Measures an index.

    Args:
        index_uri: Folder of the index.
        model_uri: Folder of the model; None for where it was when it embedded.
        as_one_text: Whether both words are one text, instead of two texts that are combined.

    Raises:
        MulanError: The index or the model cannot be used.
        AssertionError: A search finds others than brute force in float64.
    """
    index, rows = SearchIndex.open(index_uri), rows_of(index_uri)
    model = QueryModel.open(model_uri or index.manifest.model.uri, index.manifest, index.uri)
    tags: dict[str, Iterable[str]] = {row.recording_id: row.tags for row in rows}

    def find(words: tuple[str, str]) -> list[str]:
        vector = combined(
            list(model.of_texts([" ".join(words)] if as_one_text else words)), dim=index.manifest.model.dim
        )
        (found,) = index.search([Query(vector, BEST)])
        ids = [each.row.recording_id for each in found]
        assert ids == ranking(rows, vector)[:BEST], words
        return ids

    return precisions(pairs_of(list(tags.values())), tags, find)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.search.measure_precision", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--index", metavar="URI", required=True, help="folder that jobs.index has written")
    parser.add_argument("--model", metavar="URI", help="folder of the model (default: where it was when it embedded)")
    args = parser.parse_args()
    for name, as_one_text in (("as one text", True), ("as two texts", False)):
        found = measured(args.index, args.model, as_one_text=as_one_text)
        by_categories = defaultdict(list)
        for each in found:
            by_categories[" x ".join(split_tag(tag)[0] for tag in each.pair)].append(each)
        for categories, some in {**by_categories, "all": found}.items():
            share, chance = (float(np.mean([getattr(each, value) for each in some])) for value in ("share", "chance"))
            print(f"{name}, {categories}: precision@{BEST} {share:.3f}, chance {chance:.4f}, {len(some)} pairs")


if __name__ == "__main__":
    main()
