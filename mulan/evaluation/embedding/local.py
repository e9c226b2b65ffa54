"""Embedding of a corpus in this process, without Ray."""

from collections.abc import Sequence

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.collected import CorpusEmbeddings, EmbeddingCollector
from mulan.evaluation.embedding.indexed import in_blocks, indexed_recordings
from mulan.evaluation.embedding.labels import OnProgress, no_progress
from mulan.evaluation.embedding.windows import AudioCorruption, Windowing, read_windows
from mulan.evaluation.encoders.encoder import Encoder
from mulan.model.inference.passes import windows_of_a_pass

BATCHES_PER_BLOCK = 4
"""Number of batches of windows that are read by one task: several, as the last one of a block may be smaller."""


def embed_here(
    encoder: Encoder,
    corpus: Corpus,
    splits: Sequence[str],
    *,
    max_skipped_share: float,
    corruption: AudioCorruption | None = None,
    on_progress: OnProgress = no_progress,
) -> CorpusEmbeddings:
    """Embeds the recordings of splits like :func:`mulan.evaluation.embedding.pipeline.embed_corpus`, in this process.

    The vectors are those of the pipeline on CPUs, bit by bit.

    Args:
        encoder: An encoder that embeds audio.
        corpus: A prepared corpus.
        splits: Any of ``train``, ``validation`` and ``test``.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].
        corruption: Corruption of each recording.
        on_progress: Called after each batch of windows.

    Raises:
        EvaluationError: The splits have no recordings, or vectors are not finite.
        EncoderError: The encoder returns something else than vectors.
        TooManySkippedRecordings: More recordings were skipped than allowed; names them.
        StorageError, StoragePermanentError: The storage of the corpus failed.
    """
    info, recordings = encoder.info, indexed_recordings(corpus, splits)
    windowing = Windowing(info.sample_rate_hz, info.window_samples, corruption)
    collector = EmbeddingCollector(recordings, info)
    at_once = windows_of_a_pass("cpu", info.window_samples)
    for block in in_blocks(recordings, windows=BATCHES_PER_BLOCK * at_once, window_s=windowing.window_s):
        for batch in read_windows(block, windowing, at_once=at_once):
            collector.add(batch.embedded(encoder))
            on_progress(collector.done, len(recordings))
    result = collector.finish()
    result.check(described(corpus, splits), max_skipped_share=max_skipped_share)
    return result


def described(corpus: Corpus, splits: Sequence[str]) -> str:
    """Returns the names of splits and of their corpus, for messages."""
    named = "the split" if len(splits) == 1 else "the splits"
    return f"{named} {', '.join(map(repr, splits))} of {corpus.uri}"
