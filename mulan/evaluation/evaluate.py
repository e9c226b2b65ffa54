"""Evaluation of an exported model on a split: zero-shot tagging, retrieval, control and example queries."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mulan import MuLan
from mulan.data.corpus.index import Corpus
from mulan.evaluation.control import Control, mean_over_categories, shuffled_control
from mulan.evaluation.embed import EmbeddedSplit, EvaluationError, embed_split
from mulan.evaluation.example_queries import ExampleQuery, best_hits, typical_queries
from mulan.evaluation.metrics.retrieval import RetrievalScores
from mulan.evaluation.metrics.tagging import TaggingScores
from mulan.evaluation.zero_shot import QUERY_SOURCE, queries_and_gold, text_to_music, vocabulary, zero_shot_tagging


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of an evaluation, and the embeddings that they were computed from."""

    model_uri: str
    """Folder of the exported model."""
    data_uri: str
    """Folder of the corpus."""
    split: str
    """Split that was evaluated."""
    sample_rate_hz: int
    """Sample rate of the model's input."""
    window_samples: int
    """Length of the model's window in samples."""
    recordings: EmbeddedSplit
    """Recordings of the split with their embeddings, texts and tags."""
    prompts: dict[str, dict[str, np.ndarray]]
    """Unit vector [d] by category and tag text, which is the prompt."""
    queries: tuple[str, ...]
    """Distinct texts of the split's recordings, the queries of retrieval."""
    query_embeddings: np.ndarray
    """Unit vectors [queries, d]."""
    query_gold: tuple[tuple[int, ...], ...]
    """Indices of each query's recordings."""
    zero_shot: dict[str, TaggingScores]
    """Zero-shot tagging scores by category."""
    retrieval: RetrievalScores | None
    """Text-to-music retrieval scores; None if no recording has a text of the query source."""
    control: Control
    """Scores of the shuffled-label control."""
    examples: tuple[ExampleQuery, ...]
    """Example queries with their best hits."""

    @property
    def roc_auc(self) -> float:
        """Zero-shot ROC-AUC averaged over categories, comparable with ``control.roc_auc``."""
        return mean_over_categories(self.zero_shot)

    def summary(self) -> dict[str, Any]:
        """Returns everything but the embeddings, serialisable as JSON; undefined numbers are None."""
        ids = self.recordings.recording_ids
        summary: dict[str, Any] = _without_nan(
            {
                "model": self.model_uri,
                "data": self.data_uri,
                "split": self.split,
                "num_recordings": len(ids),
                "recordings_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
                "skipped": self.recordings.skipped,
                "audio_embedding": {
                    "sample_rate_hz": self.sample_rate_hz,
                    "window_samples": self.window_samples,
                    "rule": "mean over the fewest evenly spaced windows that cover the recording, normalised",
                },
                "roc_auc": self.roc_auc,
                "zero_shot": {category: asdict(scores) for category, scores in self.zero_shot.items()},
                "prompts": {category: list(texts) for category, texts in self.prompts.items()},
                "retrieval": None if self.retrieval is None else {"source": QUERY_SOURCE} | asdict(self.retrieval),
                "control": asdict(self.control),
                "examples": [asdict(example) for example in self.examples],
            }
        )
        return summary


def evaluate(
    model_uri: str,
    corpus: Corpus,
    *,
    split: str = "test",
    example_queries: Sequence[str] | None = None,
    max_skipped_share: float = 0.01,
    use_gpu: bool = False,
    restart_actors: bool = False,
) -> Evaluation:
    """Embeds a split on the Ray cluster and evaluates the model on it.

    Args:
        model_uri: Folder of an exported model, a local path or any fsspec URI.
        corpus: A prepared corpus.
        split: ``train``, ``validation`` or ``test``.
        example_queries: Queries whose best hits are reported; derived from the split's tags if None.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].
        use_gpu: Embed on GPUs, one per copy of the model.
        restart_actors: Restart the process of a copy of the model on another node when its node is lost.

    Raises:
        MulanError: The split or model does not exist, too many recordings were skipped, or embeddings are not
            finite.
    """
    model = MuLan.from_pretrained(model_uri, device=None if use_gpu else "cpu")
    recordings = embed_split(
        corpus,
        split,
        model_uri=model_uri,
        sample_rate_hz=model.sample_rate_hz,
        window_samples=model.window_samples,
        text_source=QUERY_SOURCE,
        max_skipped_share=max_skipped_share,
        use_gpu=use_gpu,
        restart_actors=restart_actors,
    )
    return evaluate_embedded(
        model, recordings, model_uri=model_uri, data_uri=corpus.uri, split=split, example_queries=example_queries
    )


def evaluate_embedded(
    model: MuLan,
    recordings: EmbeddedSplit,
    *,
    model_uri: str,
    data_uri: str,
    split: str,
    example_queries: Sequence[str] | None = None,
) -> Evaluation:
    """Evaluates a model on a split that it has embedded.

    Args:
        model: The model, which embeds tags and queries.
        recordings: The recordings of the split, with their texts of :data:`QUERY_SOURCE`.
        model_uri: Folder of the exported model, for the result.
        data_uri: Folder of the corpus, for the result.
        split: Name of the split, for the result.
        example_queries: Queries whose best hits are reported; derived from the split's tags if None.

    Raises:
        EvaluationError: Text embeddings are not finite.
    """
    gold = queries_and_gold(recordings.texts)
    if example_queries is None:
        example_queries = typical_queries(recordings.tags, recordings.texts)
    tag_texts = vocabulary(recordings.tags)
    vector = _embed_texts(model, [*gold, *example_queries, *(text for texts in tag_texts.values() for text in texts)])
    dim = recordings.embeddings.shape[1]

    def stack(texts: Sequence[str]) -> np.ndarray:
        return np.stack([vector[text] for text in texts]) if texts else np.zeros((0, dim), np.float32)

    audio, queries, golds = recordings.embeddings, stack(tuple(gold)), tuple(gold.values())
    prompts = {category: {text: vector[text] for text in texts} for category, texts in tag_texts.items()}
    return Evaluation(
        model_uri=model_uri,
        data_uri=data_uri,
        split=split,
        sample_rate_hz=model.sample_rate_hz,
        window_samples=model.window_samples,
        recordings=recordings,
        prompts=prompts,
        queries=tuple(gold),
        query_embeddings=queries,
        query_gold=golds,
        zero_shot=zero_shot_tagging(audio, recordings.tags, prompts),
        retrieval=text_to_music(queries, audio, golds) if golds else None,
        control=shuffled_control(audio, recordings.tags, prompts, queries, golds),
        examples=best_hits(example_queries, stack(example_queries), audio, recordings.recording_ids, recordings.tags),
    )


def _embed_texts(model: MuLan, texts: Sequence[str]) -> dict[str, np.ndarray]:
    distinct = sorted(set(texts))
    if not distinct:
        return {}
    embeddings = model.embed_text(distinct)
    if not np.isfinite(embeddings).all():
        raise EvaluationError("the model's text embeddings are not finite; did its training diverge?")
    return dict(zip(distinct, embeddings, strict=True))


def _without_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
