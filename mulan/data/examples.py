"""From the plan to a batch: read, decode and tokenize one micro-batch, replacing what cannot be used."""

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from mulan.config import sections
from mulan.config.recipe import Recipe
from mulan.config.sections import Data, Train
from mulan.data import shards, storage
from mulan.data.audio import decode_window
from mulan.data.batch import Batch, Replaced
from mulan.data.errors import BadRecording, TooManyBadRecordings
from mulan.data.index import Corpus
from mulan.data.plan import Example, Plan
from mulan.data.schedule import Item, Phase
from mulan.data.tags import class_names, multi_hot
from mulan.data.text import load_tokenizer, tokenize

MAX_REPLACEMENTS = 16
"""Replacements in a row for one pair; when all are bad, so is the corpus."""


@dataclass(frozen=True)
class MicroBatchReader:
    """Makes the batch of any item of the run. Holds no state: the same item gives the same batch."""

    corpus: Corpus
    plans: dict[Phase, Plan]
    data: Data
    tokenizer: Tokenizer | None
    """None where the recipe has no text tower."""
    classes: tuple[str, ...] = ()
    """Tags that the batches tell of each recording."""

    @classmethod
    def of(cls, recipe: Recipe) -> "MicroBatchReader":
        """The reader of a recipe's corpus.

        Raises:
            CorpusError, PlanError: the corpus is not there, or lacks what the recipe asks for.
        """
        corpus = Corpus.open(recipe.data.uri)
        return cls(
            corpus,
            plans(corpus, recipe.data, recipe.batch, recipe.train),
            recipe.data,
            load_tokenizer(recipe.text_tower),
            class_names(corpus, recipe.tagging) if recipe.loss.weights.tagging else (),
        )

    @property
    def waveform_shape(self) -> tuple[int, int, int]:
        """[m, views, samples] of every batch."""
        return self.plans[Phase.TRAIN].pairs_per_micro_batch, 1, self.data.window_samples

    def __call__(self, item: Item, *, waveform: np.ndarray | None = None) -> Batch:
        """
        Args:
            waveform: int16 of :attr:`waveform_shape`, to be filled and kept by the batch; a new one if not given.

        Raises:
            TooManyBadRecordings: a pair could not be filled.
        """
        # every validation uses the pairs of its plan's step 0, so that its figures can be compared
        step = item.step if item.phase is Phase.TRAIN else 0
        plan = self.plans[item.phase]
        wanted = dict(enumerate(plan.micro_batch(step, item.micro_batch)))
        if waveform is None:
            waveform = np.empty(self.waveform_shape, np.int16)
        pairs: dict[int, tuple[int, str]] = {}
        replaced: list[Replaced] = []
        for attempt in range(1, MAX_REPLACEMENTS + 2):
            reads = storage.read_ranges(*self.corpus.byte_ranges([example.row for example in wanted.values()]))
            for (position, example), read in zip(wanted.items(), reads, strict=True):
                try:
                    pairs[position] = example.row, self._use(example, read, waveform[position, 0])
                except BadRecording as error:
                    name = self.corpus.recording_ids([example.row])[0]
                    replaced.append(Replaced(name, error.reason, error.detail))
            wanted = {
                position: plan.replacement(step, item.micro_batch, position, example.source, attempt)
                for position, example in wanted.items()
                if position not in pairs
            }
            if not wanted:
                return self._batch(item, waveform, [pairs[position] for position in sorted(pairs)], replaced)
        last = replaced[-1]
        raise TooManyBadRecordings(
            f"corpus {self.corpus.uri}: {MAX_REPLACEMENTS} recordings in a row cannot be used; "
            f"the last: {last.recording_id}: {last.reason}: {last.detail}"
        )

    def _use(self, example: Example, read: bytes | Exception, window: np.ndarray) -> str:
        """Fills the window of an example and gives its text."""
        record = shards.parse_read(read)
        texts = record.texts(example.source)
        decode_window(record.audio, window, draw=example.window_draw, sample_rate_hz=self.data.sample_rate_hz)
        return texts[int(example.text_draw * len(texts))]

    def _batch(self, item: Item, waveform: np.ndarray, pairs: list[tuple[int, str]], replaced: list[Replaced]) -> Batch:
        rows, texts = zip(*pairs, strict=True)
        token_ids, attention_mask = tokenize(list(texts), self.tokenizer)
        return Batch(
            item=item,
            waveform=waveform,
            token_ids=token_ids,
            attention_mask=attention_mask,
            tags=multi_hot(self.corpus, rows, self.classes),
            recording_id=tuple(self.corpus.recording_ids(rows)),
            replaced=tuple(replaced),
        )


def plans(corpus: Corpus, data: Data, batch: sections.Batch, train: Train) -> dict[Phase, Plan]:
    """The plan of each phase.

    Raises:
        PlanError: the corpus lacks a text source, or a split, that the recipe asks for.
    """
    validation = batch.model_copy(update={"micro_batches": train.validation_micro_batches})
    batches = {Phase.TRAIN: ("train", batch)}
    if train.validation_micro_batches:
        batches[Phase.VALIDATE] = ("validation", validation)
    return {
        phase: Plan(corpus.rows_by_source(split), ratio=data.source_ratio, batch=size, seed=train.seed, split=split)
        for phase, (split, size) in batches.items()
    }
