"""Retrieval of recordings by text queries: captions of single recordings, and titles of playlists (MuLan §4.1.3)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.chance import chance_of_retrieval
from mulan.evaluation.metrics.resampling import Resampling
from mulan.evaluation.metrics.retrieval import GoldPositions, retrieval_scores, search
from mulan.evaluation.protocols.prompts import embed_texts
from mulan.evaluation.protocols.protocol import Evaluated, SetScores, sample_digest
from mulan.evaluation.protocols.queries import recordings_by_text
from mulan.evaluation.protocols.scored_split import ScoredSplit
from mulan.evaluation.recordings import EmbeddedRecordings

CAPTION_SCORES = ("recall1", "recall5", "recall10", "median_rank", "map10", "mrr")
PLAYLIST_SCORES = ("roc_auc", "map", "recall10", "prevalence")
"""The scores of a set, attributes of :class:`~mulan.evaluation.metrics.retrieval.RetrievalScores`."""

_RESAMPLED = "for intervals, queries are resampled, those for recordings of the same known artists together"

EXAMPLES, HITS = 5, 3
"""Number of queries that are shown, and of the hits of each."""
SMALL_MIN_TRACKS = 2
"""Minimum number of recordings of a playlist in a corpus without one that is large enough."""


@dataclass(frozen=True)
class CaptionRetrieval(ScoredSplit):
    """Finds recordings by their captions: each distinct text is a query for all recordings of the split that have it.

    Scores are the shares of queries of which the best recording is among the first 1, 5 and 10, the median of its rank,
    which counts from 1, the mean average precision at 10, and the mean reciprocal rank. Recordings that are equally
    similar are counted against the query.
    """

    name: str
    """Name of the set, such as that of the source."""
    source: str = "long_form"
    """Source of the texts."""

    needs_text: ClassVar[bool] = True

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores.

        Raises:
            EvaluationError: The split has no recordings, or none has a text of the source.
        """
        audio = model.of_split(self.split)
        gold = recordings_by_text(audio.recordings, self.source)
        if not gold:
            raise EvaluationError(
                f"no recording of the split {self.split!r} has a text of the source {self.source}, "
                "which retrieval by captions needs"
            )
        found = _Search.of(model, audio, gold)
        yield found.scores(
            section="retrieval.captions",
            name=self.name,
            names=CAPTION_SCORES,
            counts={"recordings_with_text": len({row for rows in gold.values() for row in rows})},
            details={"source": self.source},
            protocol=f"Each distinct text of {self.source} searches all recordings of the split {self.split} by cosine "
            f"similarity; the rank of a query is that of its best recording, ties count against it; {_RESAMPLED}.",
        )


@dataclass(frozen=True)
class PlaylistRetrieval(ScoredSplit):
    """Finds the recordings of playlists by titles or descriptions: each text is a query for all of its recordings.

    Scores are the ROC-AUC and the mean average precision over all recordings of the split, averaged over queries, and
    the share of queries of which a recording is among the first 10. A corpus has texts of recordings: playlists with
    the same title are one query, and a playlist has those of its recordings that are in the split.
    """

    name: str
    """Name of the set, such as ``titles`` or ``descriptions``."""
    source: str = "playlist"
    """Source of the texts; descriptions of playlists are in ``long_form``, beside texts of single recordings."""
    titles: str = ""
    """Source of titles, if the texts are descriptions: a text counts only if its recordings are those of a title, and
    no others, which comments that many recordings have are not. Empty if the texts are titles."""
    min_tracks: int = 10
    """Minimum number of recordings of a query. If no text has it, it is 2, which the result states."""
    max_tracks: int = 100
    """Maximum number of recordings of a query."""

    needs_text: ClassVar[bool] = True

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores.

        Raises:
            EvaluationError: The split has no recordings, or no two of them share a text of the source.
        """
        audio = model.of_split(self.split)
        texts = recordings_by_text(audio.recordings, self.source)
        if self.titles:
            of_titles = set(recordings_by_text(audio.recordings, self.titles).values())
            texts = {text: rows for text, rows in texts.items() if rows in of_titles}
        min_tracks = self.min_tracks
        gold = _of_size(texts, min_tracks, self.max_tracks)
        if not gold and min_tracks > SMALL_MIN_TRACKS:
            min_tracks = SMALL_MIN_TRACKS
            gold = _of_size(texts, min_tracks, self.max_tracks)
        shared = f", and of the same ones as a text of {self.titles}" if self.titles else ""
        if not gold:
            raise EvaluationError(
                f"no text of the source {self.source} is of {min_tracks} to {self.max_tracks} recordings of the split "
                f"{self.split!r}{shared}, which retrieval by playlists needs"
            )
        small = f" (not {self.min_tracks}, which no text has)" if min_tracks < self.min_tracks else ""
        what = f", which are also those of a title, a text of {self.titles}," if self.titles else ""
        yield _Search.of(model, audio, gold).scores(
            section="retrieval.playlists",
            name=self.name,
            names=PLAYLIST_SCORES,
            counts={"texts": len(texts)},
            details={"source": self.source, "min_tracks": min_tracks, "max_tracks": self.max_tracks},
            protocol=f"Each text of {self.source} of {min_tracks}{small} to {self.max_tracks} recordings of the split "
            f"{self.split}{what} searches all recordings of the split by cosine similarity; playlists with the same "
            f"title are one query; mean over queries, ties count half in the ROC-AUC; {_RESAMPLED}.",
        )


def _of_size(texts: Mapping[str, tuple[int, ...]], low: int, high: int) -> dict[str, tuple[int, ...]]:
    return {text: rows for text, rows in texts.items() if low <= len(rows) <= high}


@dataclass(frozen=True, eq=False)
class _Search:
    """A collection that was searched with queries."""

    model: Evaluated
    audio: EmbeddedRecordings
    queries: tuple[str, ...]
    gold: tuple[tuple[int, ...], ...]
    items: np.ndarray
    """Vector of each recording, [recordings, d]."""
    vectors: np.ndarray
    """Vector of each query, [queries, d]."""
    positions: tuple[GoldPositions, ...]

    @classmethod
    def of(cls, model: Evaluated, audio: EmbeddedRecordings, gold: Mapping[str, tuple[int, ...]]) -> "_Search":
        queries, rows = tuple(gold), tuple(gold.values())
        items, vectors = audio.means, embed_texts(model.encoder, queries)
        return cls(model, audio, queries, rows, items, vectors, tuple(search(vectors, items, rows)))

    def scores(
        self,
        *,
        section: str,
        name: str,
        names: Sequence[str],
        counts: Mapping[str, int],
        details: Mapping[str, Any],
        protocol: str,
    ) -> SetScores:
        """Returns the named scores with their draws."""
        values = asdict(retrieval_scores(self.positions))
        sizes = [len(rows) for rows in self.gold]
        return SetScores(
            section=section,
            name=name,
            scores={each: values[each] for each in names},
            draws={each: draws for each, draws in self._draws().items() if each in names},
            counts={
                "queries": len(self.queries),
                "recordings": len(self.items),
                "relevant": sum(sizes),
                "most_relevant_of_a_query": max(sizes),
                **counts,
            },
            details={
                "split": self.audio.recordings[0].split,
                "chance": self._chance(names),
                "examples": self._examples(),
                **details,
            },
            protocol=protocol,
            sample_sha256=sample_digest(self._sample()),
        )

    def _draws(self) -> dict[str, np.ndarray]:
        """Returns the draws over queries; those for recordings of the same artists are drawn together."""
        if not self.model.replicates:
            return {}
        resampling = Resampling(self._groups(), replicates=self.model.replicates, seed=self.model.seed)
        best = self._ranks().astype(np.float64)
        means = {
            "recall1": best <= 1,
            "recall5": best <= 5,
            "recall10": best <= 10,
            "mrr": 1 / best,
            "map10": np.array([each.average_precision_at_cutoff for each in self.positions]),
            "map": np.array([each.average_precision for each in self.positions]),
            "roc_auc": np.array([each.roc_auc for each in self.positions]),
        }
        draws = {name: resampling.means(values.astype(np.float64)) for name, values in means.items()}
        return {**draws, "median_rank": resampling.medians(best)}

    def _groups(self) -> list[str]:
        """Returns the artists of the recordings of each query, a recording of an unknown one being its own."""
        artist = [each.artist for each in self.audio.recordings]
        return [json.dumps(sorted({(artist[row], "" if artist[row] else row) for row in rows})) for rows in self.gold]

    def _sample(self) -> Iterator[list[str]]:
        """Yields the recordings that are searched, and each query with those that belong to it."""
        ids = [each.recording_id for each in self.audio.recordings]
        yield ids
        for query, rows in zip(self.queries, self.gold, strict=True):
            yield [query, *(ids[row] for row in rows)]

    def _ranks(self) -> np.ndarray:
        """Returns the rank of the best recording of each query, int64 [queries]."""
        return np.array([each.ranks[0] for each in self.positions])

    def _chance(self, names: Sequence[str]) -> dict[str, float]:
        """Returns the scores of random orders."""
        chance = chance_of_retrieval([len(rows) for rows in self.gold], len(self.items))
        return {name: value for name, value in chance.items() if name in names}

    def _examples(self) -> list[dict[str, Any]]:
        """Returns queries from the best rank to the worst, with their best hits, as values of JSON."""
        ranks = self._ranks()
        order = np.argsort(ranks, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(np.int64))]
        similarity = self.vectors[chosen].astype(np.float64) @ self.items.astype(np.float64).T
        return [
            {
                "query": self.queries[row],
                "rank": int(ranks[row]),
                "relevant": len(self.gold[row]),
                "hits": [
                    self._hit(hit, float(scores[hit]), hit in self.gold[row])
                    for hit in np.argsort(-scores, kind="stable")[:HITS].tolist()
                ],
            }
            for row, scores in zip(chosen.tolist(), similarity, strict=True)
        ]

    def _hit(self, row: int, score: float, is_relevant: bool) -> dict[str, Any]:
        recording = self.audio.recordings[row]
        return {
            "recording": recording.recording_id,
            "title": recording.title,
            "tags": list(recording.tags),
            "score": score,
            "relevant": is_relevant,
        }
