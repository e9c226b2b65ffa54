"""The vectors of a task's recordings, of which those that are not kept yet are computed on Ray."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mulan.data.corpus.index import Corpus
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.cache import FOLDER, embed_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings, joined
from mulan.evaluation.embedding.local import described
from mulan.evaluation.embedding.pipeline import embed_corpus
from mulan.evaluation.embedding.windows import CorpusPart
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
        parts = [CorpusPart(split, corruption) for corruption in corruptions]
        for found in self._found(info, spec, parts):
            found.check(described(self.corpus, [split]), max_skipped_share=self.options.max_skipped_share)
            yield found.embedded

    def of_splits(self, info: EncoderInfo, spec: str, splits: Sequence[str]) -> CorpusEmbeddings:
        """Returns the recordings of splits with the vectors of an encoder.

        Args:
            info: The encoder.
            spec: What :func:`open_encoder` opens it by.
            splits: Splits that have recordings, at least one.

        Raises:
            MulanError: The recordings cannot be embedded, or too many were skipped.
        """
        # small ones first, since each is kept when it is complete
        parts = [CorpusPart(split) for split in sorted(splits, key=lambda split: len(self.corpus.rows(split)))]
        found = joined(list(self._found(info, spec, parts)))
        found.check(described(self.corpus, splits), max_skipped_share=self.options.max_skipped_share)
        return found

    def _found(self, info: EncoderInfo, spec: str, parts: Sequence[CorpusPart]) -> Iterator[CorpusEmbeddings]:
        """Yields the vectors of parts of the corpus, and computes those that are not kept."""
        return embed_cached(
            filesystem.join(self.options.out_uri, FOLDER),
            info,
            self.corpus,
            parts,
            partial(self._computed, info, spec),
            on_message=lambda line: self.observer.message(f"embed  {line}"),
        )

    def _computed(self, info: EncoderInfo, spec: str, parts: Sequence[CorpusPart]) -> Iterator[CorpusEmbeddings]:
        corruptions = sum(part.corruption is not None for part in parts)
        how = f", {corruptions} corruptions" if corruptions else ""
        with self.observer.progress(f"{info.name} on {self.task}{how}") as on_progress:
            yield from embed_corpus(
                partial(open_encoder, spec, name=info.name),
                info,
                self.corpus,
                parts,
                use_gpu=self.options.use_gpu,
                on_this_machine=self.options.on_this_machine,
                on_progress=on_progress,
            )
