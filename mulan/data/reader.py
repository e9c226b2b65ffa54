"""The reader, which reads, decodes and tokenizes a planned micro-batch, and replaces recordings that cannot be used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mulan.config.objectives import LossWeightsConfig, SemiSupConConfig, TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, DataConfig, TrainConfig
from mulan.data.audio.windows import decode_views
from mulan.data.batch import Batch
from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.records import Fragment, read_fragments
from mulan.data.errors import BadRecording, SkippedRecording, TooManySkippedRecordings
from mulan.data.labels import class_names, multi_hot, tag_names
from mulan.data.masking import Masking
from mulan.data.plan import Example, Plan
from mulan.data.schedule import Item, Phase
from mulan.data.streams import StreamMixture, build_mixture, labels_used
from mulan.data.text import TextTokenizer, load_tokenizer, tokenize
from mulan.data.text_sampling import sample_text
from mulan.storage import filesystem

MAX_REPLACEMENTS = 16
"""Maximum number of consecutive replacements for one pair; if none can be used, the corpus is considered bad."""

FETCH_BYTES = 2**26
"""Maximum size in bytes of the recordings that are fetched at a time, unless a single one exceeds it.

Encoded recordings of minutes are several megabytes each, and a reader may hold two fetches at a time."""


_FIRST_SAMPLES = 1000


@dataclass(frozen=True)
class Fetched:
    """Consecutive pairs of a micro-batch, with the bytes of their recordings."""

    item: Item
    first: int
    """Position of the first pair in the micro-batch."""
    examples: Sequence[Example]
    fragments: Sequence[Fragment]


@dataclass(frozen=True)
class MicroBatchReader:
    """Reads any micro-batch of the run. It has no state: the same item always gives the same batch."""

    corpus: Corpus
    plans: dict[Phase, Plan]
    data: DataConfig
    tokenizer: TextTokenizer | None
    """Tokenizer of the text tower; None if no text is read."""
    classes: tuple[str, ...] = ()
    """Tags of the columns of :attr:`mulan.data.batch.Batch.tags`."""
    labelled: np.ndarray | None = None
    """Recordings whose tags are used, bool [rows of the index]; None for all."""
    views: int = 1
    """Number of windows of each recording."""
    masking: Masking | None = None
    """Masking of tokens and segments; None if no objective uses it."""

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "MicroBatchReader":
        """Builds the reader of a recipe: opens its corpus and loads its tokenizer.

        Raises:
            CorpusError, PlanError: The corpus does not exist, or lacks what the recipe requires.
            PretrainedError: The text tower has no tokenizer that meets the recipe's requirements.
        """
        corpus, weights, seed = Corpus.open(recipe.data.uri), recipe.loss.weights, recipe.train.seed

        def mixture(split: str) -> StreamMixture:
            return build_mixture(corpus, split, weights, recipe.data.source_ratio, recipe.semisupcon, seed=seed)

        return cls(
            corpus=corpus,
            plans=_plans(mixture, recipe.batch, recipe.train),
            data=recipe.data,
            classes=_classes(corpus, weights, recipe.tagging, recipe.semisupcon),
            labelled=labels_used(corpus, recipe.semisupcon, seed=seed) if weights.semisupcon else None,
            views=recipe.views,
            # last, because these load transformers: faults of the corpus are reported at once
            tokenizer=load_tokenizer(recipe.text_tower) if weights.uses_text else None,
            masking=Masking.from_sections(recipe.mulap, weights, recipe.text_tower, segments=recipe.segments),
        )

    @property
    def waveform_shape(self) -> tuple[int, int, int]:
        """Shape of the waveforms of every batch: [m, views, samples]."""
        return self.plans[Phase.TRAIN].pairs_per_micro_batch, self.views, self.data.window_samples

    @cached_property
    def is_local(self) -> bool:
        """Whether all shards are on the local file system."""
        return all(map(filesystem.is_local, self.corpus.shards()))

    def __call__(self, item: Item) -> Batch:
        """Reads a batch: fetches and decodes it.

        Raises:
            TooManySkippedRecordings: No usable recording was found for a pair.
        """
        return self.decode(item, self.fetch(item), np.empty(self.waveform_shape, np.int16))

    def fetch(self, item: Item) -> Iterator[Fetched]:
        """Yields the pairs of a micro-batch in order, in parts of at most :data:`FETCH_BYTES`.

        It may be run in another thread than :meth:`decode`.
        """
        for first, examples, locations in self.parts(item):
            yield Fetched(item, first, examples, read_fragments(locations))

    def parts(self, item: Item) -> Iterator[tuple[int, Sequence[Example], Sequence[Location]]]:
        """Yields the pairs of a micro-batch in order, as they are fetched at a time.

        Of each part, it yields the position of the first pair in the micro-batch, its examples and their locations.
        """
        examples = self.plans[item.phase].micro_batch(_planned_step(item), item.micro_batch)
        locations = self.corpus.locations([example.row for example in examples])
        for part in _parts_of_size(locations, FETCH_BYTES):
            yield part.start, examples[part], locations[part]

    def decode(self, item: Item, fetched: Iterable[Fetched], waveform: np.ndarray) -> Batch:
        """Decodes a batch, and fetches and decodes the replacements of recordings that cannot be used.

        Args:
            item: Micro-batch to decode.
            fetched: All of its pairs, from :meth:`fetch`.
            waveform: Buffer to fill, int16 of :attr:`waveform_shape`, which the batch then owns.

        Raises:
            TooManySkippedRecordings: No usable recording was found for a pair.
        """
        plan, step = self.plans[item.phase], _planned_step(item)
        pairs: dict[int, tuple[Example, str]] = {}
        skipped: list[SkippedRecording] = []
        missing: dict[int, Example] = {}

        def add(position: int, example: Example, fragment: Fragment) -> None:
            try:
                pairs[position] = example, self._decode(item.phase, example, fragment, waveform[position])
            except BadRecording as error:
                name = self.corpus.recording_ids([example.row])[0]
                skipped.append(SkippedRecording(name, error.reason, error.detail))
                missing[position] = example

        for part in fetched:
            for number, (example, fragment) in enumerate(zip(part.examples, part.fragments, strict=True)):
                add(part.first + number, example, fragment)
        for attempt in range(1, MAX_REPLACEMENTS + 1):
            if not missing:
                break
            replacements = {
                position: plan.replacement(step, item.micro_batch, position, example.stream, attempt)
                for position, example in missing.items()
            }
            missing.clear()
            fragments = read_fragments(self.corpus.locations([example.row for example in replacements.values()]))
            for (position, example), fragment in zip(replacements.items(), fragments, strict=True):
                add(position, example, fragment)
        if missing:
            raise TooManySkippedRecordings(
                f"corpus {self.corpus.uri}: {MAX_REPLACEMENTS} recordings in a row cannot be used; the last: "
                f"{skipped[-1]}"
            )
        return self._batch(item, step, waveform, [pairs[position] for position in sorted(pairs)], skipped)

    def _decode(self, phase: Phase, example: Example, fragment: Fragment, views: np.ndarray) -> str:
        """Fills the windows of an example and returns its text."""
        record, source = fragment.record(), example.stream.source
        texts = record.texts(source) if source else [""]
        decode_views(
            record.audio,
            views,
            draw=example.window_draw,
            sample_rate_hz=self.data.sample_rate_hz,
            min_duration_s=self.data.min_duration_s,
        )
        if not views[:, :_FIRST_SAMPLES].any() and not views.any():  # all samples take long to look through
            length_s = len(views) * self.data.window_s
            raise BadRecording("silent", f"only zeros in {length_s:g} s from {example.window_draw:.0%} on")
        # every validation has the same queries, whatever the training pairs are
        sampling = self.data.text_sampling if phase is Phase.TRAIN else "one"
        return sample_text(texts, sampling, draw=example.text_draw)

    def _batch(
        self,
        item: Item,
        step: int,
        waveform: np.ndarray,
        pairs: list[tuple[Example, str]],
        skipped: list[SkippedRecording],
    ) -> Batch:
        """Builds the batch from the pairs that were read; ``step`` is the step of the plan."""
        examples, texts = zip(*pairs, strict=True)
        rows = [example.row for example in examples]
        names = self.corpus.recording_ids(rows)
        tags = multi_hot(self.corpus, rows, self.classes)
        if self.labelled is not None:
            tags[~self.labelled[rows]] = 0
        masks, plan = None, self.plans[item.phase]
        if self.masking is None:
            token_ids, attention_mask = tokenize(list(texts), self.tokenizer)
        else:
            order = self.masking.captions(plan, step, item.micro_batch, texts, names)
            token_ids, attention_mask = tokenize([texts[pair] for pair in order], self.tokenizer)
            token_ids, masks = self.masking(
                plan,
                step,
                item.micro_batch,
                token_ids=token_ids,
                attention_mask=attention_mask,
                matched=order == np.arange(len(order)),
            )
        return Batch(
            item=item,
            waveform=waveform,
            token_ids=token_ids,
            attention_mask=attention_mask,
            tags=tags,
            recording_id=tuple(names),
            skipped=tuple(skipped),
            masks=masks,
        )


def _planned_step(item: Item) -> int:
    """Returns the step of the plan: every validation uses the pairs of step 0, so that scores are comparable."""
    return item.step if item.phase is Phase.TRAIN else 0


def _parts_of_size(locations: Sequence[Location], max_bytes: int) -> Iterator[slice]:
    """Yields consecutive parts whose ranges have at most ``max_bytes``, or a single location with more."""
    first, total = 0, 0
    for number, location in enumerate(locations):
        size = sum(length for _, length in location.ranges)
        if number > first and total + size > max_bytes:
            yield slice(first, number)
            first, total = number, 0
        total += size
    yield slice(first, len(locations))


def _plans(mixture: Callable[[str], StreamMixture], batch: BatchConfig, train: TrainConfig) -> dict[Phase, Plan]:
    """Returns the plan of each phase.

    Args:
        mixture: Function that returns the streams of a split.

    Raises:
        PlanError: The corpus lacks a text source, labels, or a split that the recipe requires.
    """
    batches = {Phase.TRAIN: ("train", batch)}
    if train.validation_micro_batches:
        batches[Phase.VALIDATE] = ("validation", batch.replace(micro_batches=train.validation_micro_batches))
    return {
        phase: Plan(mixture(split), batch=size, seed=train.seed, split=split)
        for phase, (split, size) in batches.items()
    }


def _classes(
    corpus: Corpus, weights: LossWeightsConfig, tagging: TaggingConfig, semisupcon: SemiSupConConfig
) -> tuple[str, ...]:
    if weights.uses_classes:
        return class_names(corpus, tagging)
    return tag_names(corpus, semisupcon.tag_prefix) if weights.semisupcon else ()
