"""Text triplets: whether a text is more similar to one that belongs to it than to another one (MuLan §4.1.4)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling
from mulan.evaluation.protocols.prompts import embed_texts
from mulan.evaluation.protocols.protocol import Evaluated, SetScores, sample_digest
from mulan.evaluation.protocols.triplet_sources import Triplet, TripletSource

EXAMPLES = 5
"""Number of triplets that are shown."""


@dataclass(frozen=True)
class TextTriplets:
    """Compares texts with texts, without audio.

    The accuracy is the share of triplets of which the positive is more similar to the anchor than the negative, equally
    similar ones counting half.
    """

    name: str
    """Name of the set, such as ``audioset_ontology`` or ``playlists``."""
    source: TripletSource
    """Source of the triplets, which are the same for every model."""

    splits: ClassVar[tuple[str, ...]] = ()
    needs_text: ClassVar[bool] = True

    def on_split(self, split: str) -> "TextTriplets":
        """Returns the protocol for the texts of the recordings of another split."""
        return replace(self, source=self.source.on_split(split))

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores.

        Raises:
            EvaluationError, UnusableTextFile: The source has no triplets.
        """
        drawn = self.source.draw(model.recordings, model.seed)
        triplets = drawn.triplets
        texts = sorted({text for each in triplets for text in (each.anchor, each.positive, each.negative)})
        rows = {text: row for row, text in enumerate(texts)}
        vectors = embed_texts(model.encoder, texts).astype(np.float64)
        anchors, positives, negatives = (
            vectors[[rows[getattr(each, part)] for each in triplets]] for part in ("anchor", "positive", "negative")
        )
        right, wrong = (anchors * positives).sum(axis=1), (anchors * negatives).sum(axis=1)
        credit = np.where(right == wrong, 0.5, right > wrong)
        resampling = Resampling([each.anchor for each in triplets], replicates=model.replicates, seed=model.seed)
        sample_sha256 = sample_digest([each.anchor, each.positive, each.negative] for each in triplets)
        yield SetScores(
            section="triplets",
            name=self.name,
            scores={"accuracy": float(credit.mean()), "ties": float((right == wrong).mean())},
            draws={"accuracy": resampling.means(credit)} if model.replicates else {},
            counts={
                "triplets": len(triplets),
                "anchors": resampling.num_groups,
                "texts": len(texts),
            },
            details={
                "chance": {"accuracy": 0.5},
                "seed": model.seed,
                "triplets_sha256": sample_sha256,
                "most_wrong": _most_wrong(triplets, right, wrong),
                **drawn.details,
            },
            protocol=f"{drawn.protocol}; the more cosine-similar text is chosen, ties count half; for intervals, "
            "anchors are resampled with their triplets.",
            sample_sha256=sample_sha256,
        )


def _most_wrong(triplets: tuple[Triplet, ...], right: np.ndarray, wrong: np.ndarray) -> list[dict[str, Any]]:
    """Returns the triplets of which the negative is by far the more similar text, as values of JSON."""
    order = np.argsort(right - wrong, kind="stable")[:EXAMPLES].tolist()
    return [
        {**asdict(triplets[row]), "similarity": float(right[row]), "negative_similarity": float(wrong[row])}
        for row in order
        if right[row] < wrong[row]
    ]
