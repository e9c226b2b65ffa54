"""The evaluation of encoders by tasks: recordings are embedded once, and protocols compute scores of the vectors."""

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Protocol

from mulan.data.corpus.index import SPLITS, Corpus
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.cache import FOLDER, embed_cached, embed_corruptions_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.labels import OnProgress, no_progress, read_labels
from mulan.evaluation.embedding.local import described
from mulan.evaluation.embedding.pipeline import embed_corruptions
from mulan.evaluation.encoders.encoder import Encoder, EncoderInfo
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.encoders.stored import StoredEncoder
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.end_to_end import FOLDER as PREDICTIONS
from mulan.evaluation.finetuning.end_to_end import EndToEnd, StartingNetwork, starting_networks
from mulan.evaluation.finetuning.on_ray import train_on_ray
from mulan.evaluation.finetuning.training import EndToEndSettings
from mulan.evaluation.left_out import LeftOutNotes
from mulan.evaluation.protocols.probe_protocol import ProbeProtocol
from mulan.evaluation.protocols.protocol import Evaluated, EvaluationProtocol, RecordingProtocol, SetScores
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, TaskAudio
from mulan.evaluation.report.summary import TaskFacts, distinct_sets
from mulan.evaluation.tasks.request import TaskRequest
from mulan.storage import filesystem


@dataclass(frozen=True)
class EvaluationOptions:
    """How models are evaluated."""

    out_uri: str
    """Folder of the report, in which vectors are kept."""
    max_skipped_share: float = 0.01
    """Maximum share of skipped recordings of a corpus, in [0, 1]."""
    use_gpu: bool = False
    """Whether recordings are embedded on GPUs, one for each copy of an encoder."""
    restart_actors: bool = False
    """Whether the process of a copy of an encoder is restarted on another node when its node is lost."""
    finetune: EndToEndSettings | None = None
    """How the audio networks of exported models are also trained end to end, in place of the heads of probes: from
    their weights and, that of the first one, from scratch. None if they are not."""


@dataclass(frozen=True, eq=False)
class TaskEvaluation:
    """The results of an evaluation, and the vectors that they were computed from."""

    models: tuple[EncoderInfo, ...]
    """The encoders, in the requested order, then the baselines, and then the networks that were trained end to end."""
    scores: Mapping[str, Sequence[SetScores]]
    """Scores of each encoder, by its name."""
    tasks: tuple[TaskFacts, ...]
    """What the encoders were evaluated on."""
    audio: Mapping[str, TaskAudio]
    """Recordings that the first encoder with audio has embedded, by the name of the task."""
    corpora: Mapping[tuple[str, str], Corpus]
    """Corpus of each set that is of recordings, by section and name."""
    seconds: Mapping[str, float]
    """Duration of the evaluation of each encoder, by its name."""


class EvaluationObserver(Protocol):
    """Receives what an evaluation reports while it runs."""

    def message(self, line: str) -> None:
        """Receives a line of text."""

    def progress(self, label: str) -> AbstractContextManager[OnProgress]:
        """Returns the context in which recordings are embedded, with what is called after each batch."""


class SilentObserver:
    """Shows nothing."""

    def message(self, line: str) -> None:
        """Ignores the line."""

    def progress(self, label: str) -> AbstractContextManager[OnProgress]:
        """Returns a function that ignores the numbers."""
        return nullcontext(no_progress)


def evaluate(
    specs: Mapping[str, str],
    requests: Sequence[TaskRequest],
    options: EvaluationOptions,
    *,
    baselines: Mapping[str, str] | None = None,
    observer: EvaluationObserver | None = None,
) -> TaskEvaluation:
    """Evaluates encoders by tasks. Ray must be initialised if recordings have to be embedded or networks trained.

    Args:
        specs: Encoders as in :func:`open_encoder`, by their names in the report; at least one.
        requests: Tasks with their corpora, at least one.
        options: How recordings are embedded.
        baselines: Further encoders by name, which are evaluated by the protocols that need no text.
        observer: Receives messages and progress.

    Raises:
        EvaluationError: No protocol of any task can be evaluated; names the reasons. Or several tasks have a set of the
            same name.
        MulanError: An encoder or a corpus cannot be used. All encoders are opened before the first one is evaluated.
    """
    runs = [_TaskRun(request, options, observer or SilentObserver()) for request in requests]
    scores: dict[str, list[SetScores]] = {}
    infos, seconds = [], {}
    further = {_free_name(name, specs): spec for name, spec in (baselines or {}).items() if spec not in specs.values()}
    everything = {**specs, **further}
    opened = partial(open_encoder, device=None if options.use_gpu else "cpu")
    for name, spec in list(everything.items())[1:]:
        opened(spec, name=name)  # what is wrong with it is said before hours of the others
    for name, spec in everything.items():
        begun = time.monotonic()
        encoder = opened(spec, name=name)
        infos.append(encoder.info)
        scores[name] = distinct_sets((run.name, run.scores(encoder, spec, is_baseline=name in further)) for run in runs)
        seconds[name] = time.monotonic() - begun
    for start in _starting_networks([info for info in infos if info.name in specs], runs) if options.finetune else ():
        begun = time.monotonic()
        infos.append(start.encoder().info)
        scores[start.name] = distinct_sets((run.name, run.end_to_end_scores(start)) for run in runs)
        seconds[start.name] = time.monotonic() - begun
    if not any(run.sets for run in runs):
        raise EvaluationError("; ".join(run.nothing_evaluated() for run in runs))
    return TaskEvaluation(
        tuple(infos),
        scores,
        tuple(run.facts() for run in runs),
        {run.name: run.first_audio for run in runs if run.first_audio is not None},
        {key: run.request.corpus for run in runs if run.request.corpus is not None for key in run.sets},
        seconds,
    )


def _free_name(name: str, taken: Container[str]) -> str:
    """Returns the name of a baseline, with a number if a model has that name."""
    return next(free for free in chain([name], (f"{name} {number}" for number in count(2))) if free not in taken)


def _starting_networks(models: Sequence[EncoderInfo], runs: "Sequence[_TaskRun]") -> list[StartingNetwork]:
    """Returns the networks to train end to end; models that cannot be are named as left out of tasks with probes."""
    starts: list[StartingNetwork] = []
    for model in models:
        try:
            starts += starting_networks(model, with_scratch=not starts)
        except EvaluationError as error:
            for run in runs:
                for protocol in run.probes:
                    run.left_out.add(f"fine-tuned {model.name}", protocol, str(error))
    return starts


@dataclass
class _TaskRun:
    """The evaluation of one encoder after another by one task."""

    request: TaskRequest
    options: EvaluationOptions
    observer: EvaluationObserver
    left_out: LeftOutNotes = field(default_factory=LeftOutNotes)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    recordings: dict[str, dict[str, int]] = field(default_factory=dict)
    first_audio: TaskAudio | None = None
    sets: set[tuple[str, str]] = field(default_factory=set)
    _labels: tuple[LabelledRecording, ...] | None = None

    def scores(self, encoder: Encoder, spec: str, *, is_baseline: bool) -> Iterator[SetScores]:
        """Yields the scores of an encoder by all protocols that it can be evaluated by."""
        info = encoder.info
        obstacles = [(protocol, self._obstacle(encoder, protocol)) for protocol in self.request.task.protocols]
        usable = [protocol for protocol, obstacle in obstacles if not obstacle]
        for protocol, obstacle in obstacles:
            if obstacle and not is_baseline:
                self.left_out.add(info.name, protocol, obstacle)
        model = Evaluated(encoder, self._audio(encoder, spec, usable), self._all_labels(usable), corrupted=None)
        if not isinstance(encoder, StoredEncoder):
            model = Evaluated(encoder, model.audio, model.recordings, corrupted=partial(self._corrupted, encoder, spec))
        for protocol in usable:
            yield from self._scores_by(protocol, model)

    def _scores_by(self, protocol: EvaluationProtocol, model: Evaluated) -> Iterator[SetScores]:
        reason = "no tag can be scored, since all recordings of a split have it, or none"
        try:
            for found in protocol.evaluate(model):
                self.sets.add((found.section, found.name))
                reason = ""
                yield found
        except EvaluationError as error:
            reason = str(error)
        if reason:
            self.left_out.add(model.encoder.info.name, protocol, reason)

    @property
    def probes(self) -> list[ProbeProtocol]:
        """The protocols that train the head of a probe, in place of which a whole network can be trained."""
        return [each for each in self.request.task.protocols if isinstance(each, ProbeProtocol)]

    def end_to_end_scores(self, start: StartingNetwork) -> Iterator[SetScores]:
        """Yields the scores of a network that is trained end to end, by the probes; other protocols have no use."""
        name, options, say = f"{start.name} on {self.name}", self.options, self.observer.message
        assert options.finetune is not None
        for protocol in self.probes:
            splits = [split for split in protocol.splits if len(self._corpus.rows(split))]
            audio = self._embedded(start.model, start.model.uri, splits).embedded
            network = EndToEnd(
                start,
                self._corpus,
                audio.of_splits(protocol.split),
                filesystem.join(options.out_uri, PREDICTIONS),
                partial(train_on_ray, use_gpu=options.use_gpu, on_epoch=lambda epoch: say(f"{name}: {epoch}")),
                "cuda" if options.use_gpu else "cpu",
                options.finetune,
                say,
            )
            try:
                for found in protocol.evaluate(Evaluated(start.encoder(), audio, training=network.training())):
                    self.sets.add((found.section, found.name))
                    yield found
            except EvaluationError as error:
                self.left_out.add(start.name, protocol, str(error))

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.request.task.name

    def nothing_evaluated(self) -> str:
        """Says why nothing was evaluated."""
        return f"task {self.name} on {self.request.uri}: nothing can be evaluated: {self.left_out.reasons}"

    def facts(self) -> TaskFacts:
        """Returns what was evaluated."""
        task, corpus = self.request.task, self.request.corpus
        return TaskFacts(
            task.name,
            task.title,
            task.description,
            self.request.uri,
            corpus.index_sha256 if corpus is not None else "",
            self.recordings,
            {model: skipped for model, skipped in self.skipped.items() if skipped},
            self.left_out.entries,
        )

    @property
    def _corpus(self) -> Corpus:
        assert self.request.corpus is not None, f"{self.name} has recordings, so it has a corpus"
        return self.request.corpus

    def _obstacle(self, encoder: Encoder, protocol: EvaluationProtocol) -> str:
        """Returns why an encoder cannot be evaluated by a protocol on the corpus; empty if it can."""
        if protocol.needs_text and not encoder.info.embeds_text:
            return "it embeds no text in the space of its audio"
        if protocol.splits and not (encoder.info.embeds_audio or isinstance(encoder, StoredEncoder)):
            return "it embeds no audio"
        if protocol.splits and not any(len(self._corpus.rows(split)) for split in protocol.splits):
            return f"the corpus has no recordings in the split {' or '.join(protocol.splits)}"
        return ""

    def _audio(self, encoder: Encoder, spec: str, protocols: Sequence[EvaluationProtocol]) -> EmbeddedRecordings | None:
        wanted = [split for split in SPLITS if any(split in protocol.splits for protocol in protocols)]
        splits = [split for split in wanted if len(self._corpus.rows(split))]
        if not splits:
            return None
        if isinstance(encoder, StoredEncoder):
            labels = read_labels(self._corpus, splits)
            found = CorpusEmbeddings(encoder.embedded(labels.recordings), labels.skipped)
            found.check(described(self._corpus, splits), max_skipped_share=self.options.max_skipped_share)
        else:
            found = self._embedded(encoder.info, spec, splits)
        audio, name = found.embedded, encoder.info.name
        self.skipped[name] = dict(found.skipped)
        self.recordings[name] = {split: sum(each.split == split for each in audio.recordings) for split in splits}
        if self.first_audio is None:
            scored = {protocol.split for protocol in protocols if isinstance(protocol, RecordingProtocol)}
            self.first_audio = TaskAudio(name, audio, tuple(split for split in SPLITS if split in scored))
        return audio

    def _corrupted(
        self, encoder: Encoder, spec: str, corruptions: Sequence[Corruption], split: str
    ) -> Iterator[EmbeddedRecordings]:
        def embed(missing: Sequence[Corruption]) -> Sequence[CorpusEmbeddings]:
            return self._computed(encoder.info, spec, [split], missing)

        found = embed_corruptions_cached(
            filesystem.join(self.options.out_uri, FOLDER),
            encoder.info,
            self._corpus,
            split,
            corruptions,
            embed,
            max_skipped_share=self.options.max_skipped_share,
            on_message=self.observer.message,
        )
        return (each.embedded for each in found)

    def _embedded(self, info: EncoderInfo, spec: str, splits: Sequence[str]) -> CorpusEmbeddings:
        def embed(missing: Sequence[str]) -> CorpusEmbeddings:
            return self._computed(info, spec, missing, [None])[0]

        return embed_cached(
            filesystem.join(self.options.out_uri, FOLDER),
            info,
            self._corpus,
            splits,
            embed,
            max_skipped_share=self.options.max_skipped_share,
            on_message=self.observer.message,
        )

    def _computed(
        self, info: EncoderInfo, spec: str, splits: Sequence[str], corruptions: Sequence[Corruption | None]
    ) -> Sequence[CorpusEmbeddings]:
        kinds = ", ".join(dict.fromkeys(each.name for each in corruptions if each is not None))
        with self.observer.progress(f"{info.name} on {self.name} {kinds}".rstrip()) as on_progress:
            return embed_corruptions(
                partial(open_encoder, spec, name=info.name),
                info,
                self._corpus,
                splits,
                corruptions,
                max_skipped_share=self.options.max_skipped_share,
                use_gpu=self.options.use_gpu,
                restart_actors=self.options.restart_actors,
                on_progress=on_progress,
            )

    def _all_labels(self, protocols: Sequence[EvaluationProtocol]) -> tuple[LabelledRecording, ...]:
        """Returns all recordings of the corpus without audio, if a protocol needs no other ones."""
        if self.request.corpus is None or all(protocol.splits for protocol in protocols):
            return ()
        if self._labels is None:
            present = [split for split in SPLITS if len(self._corpus.rows(split))]
            self._labels = read_labels(self._corpus, present).recordings
        return self._labels
