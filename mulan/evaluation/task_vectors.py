"""The vectors of a task's recordings, of which those that are not kept yet are computed on Ray."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mulan.data.corpus.index import Corpus
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.cache import FOLDER, embed_cached, embed_corruptions_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.pipeline import embed_corpus
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.options import EvaluationObserver, EvaluationOptions
from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.storage import filesystem


@dataclass(frozen=True)
class TaskVectors:
    """Embeds the recordings of a corpus with any encoder, once."""

    task: str
    """Name of the task, for messages."""
    corpus: Corpus
    """The corpus."""
    options: EvaluationOptions
    """How recordings are embedded, and where vectors are kept."""
    observer: EvaluationObserver
    """Receives messages and progress."""

    def corrupted(
        self, info: EncoderInfo, spec: str, corruptions: Sequence[Corruption], split: str
    ) -> Iterator[EmbeddedRecordings]:
        """Returns the recordings of a split after each corruption, with the vectors of an encoder.

        Args:
            info: The encoder.
            spec: What :func:`open_encoder` opens it by.
            corruptions: The corruptions.
            split: ``train``, ``validation`` or ``test``.

        Raises:
            MulanError: The recordings cannot be embedded, or too many were skipped.
        """

        def embed(missing: Sequence[Corruption]) -> Iterator[CorpusEmbeddings]:
            return self._computed(info, spec, [split], missing)

        found = embed_corruptions_cached(
            filesystem.join(self.options.out_uri, FOLDER),
            info,
            self.corpus,
            split,
            corruptions,
            embed,
            max_skipped_share=self.options.max_skipped_share,
            on_message=lambda line: self.observer.message(f"embed  {line}"),
        )
        return (each.embedded for each in found)

    def of_splits(self, info: EncoderInfo, spec: str, splits: Sequence[str]) -> CorpusEmbeddings:
        """Returns the recordings of splits with the vectors of an encoder.

        Args:
            info: The encoder.
            spec: What :func:`open_encoder` opens it by.
            splits: Any of ``train``, ``validation`` and ``test``.

        Raises:
            MulanError: The recordings cannot be embedded, or too many were skipped.
        """

        def embed(missing: Sequence[str]) -> CorpusEmbeddings:
            (found,) = self._computed(info, spec, missing, [None])
            return found

        return embed_cached(
            filesystem.join(self.options.out_uri, FOLDER),
            info,
            self.corpus,
            splits,
            embed,
            max_skipped_share=self.options.max_skipped_share,
            on_message=lambda line: self.observer.message(f"embed  {line}"),
        )

    def _computed(
        self, info: EncoderInfo, spec: str, splits: Sequence[str], corruptions: Sequence[Corruption | None]
    ) -> Iterator[CorpusEmbeddings]:
        how = f", {len(corruptions)} times" if len(corruptions) > 1 else ""
        with self.observer.progress(f"{info.name} on {self.task}{how}") as on_progress:
            yield from embed_corpus(
                partial(open_encoder, spec, name=info.name),
                info,
                self.corpus,
                splits,
                corruptions,
                max_skipped_share=self.options.max_skipped_share,
                use_gpu=self.options.use_gpu,
                on_this_machine=self.options.on_this_machine,
                on_progress=on_progress,
            )
