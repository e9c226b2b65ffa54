"""The evaluation of one encoder after another by one task."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import SPLITS
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.collected import CorpusEmbeddings, check_skipped
from mulan.evaluation.embedding.labels import read_labels
from mulan.evaluation.embedding.local import described
from mulan.evaluation.encoders.encoder import Encoder
from mulan.evaluation.encoders.stored import StoredEncoder, StoredVectorsError
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.end_to_end import FOLDER as PREDICTIONS
from mulan.evaluation.finetuning.end_to_end import EndToEnd, StartingNetwork
from mulan.evaluation.finetuning.on_ray import train_on_ray
from mulan.evaluation.finetuning.training import FinishedEpoch
from mulan.evaluation.left_out import LeftOutNotes
from mulan.evaluation.options import EvaluationObserver, EvaluationOptions
from mulan.evaluation.protocols.probe_protocol import ProbeProtocol
from mulan.evaluation.protocols.protocol import Evaluated, EvaluationProtocol, RecordingProtocol, SetScores
from mulan.evaluation.protocols.triplets import TextTriplets
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, TaskAudio
from mulan.evaluation.report.summary import TaskFacts
from mulan.evaluation.task_vectors import TaskVectors
from mulan.evaluation.tasks.request import TaskRequest
from mulan.storage import filesystem


@dataclass
class TaskRun:
    """The evaluation of one encoder after another by one task."""

    request: TaskRequest
    """The task, and what it is evaluated on."""
    options: EvaluationOptions
    """How recordings are embedded."""
    observer: EvaluationObserver
    """Receives messages and progress."""
    left_out: LeftOutNotes = field(default_factory=LeftOutNotes)
    """What could not be evaluated, and why."""
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    """Why recordings were skipped, by model and id."""
    recordings: dict[str, dict[str, int]] = field(default_factory=dict)
    """Number of embedded recordings by model and split."""
    first_audio: TaskAudio | None = None
    """The recordings that the first encoder with audio has embedded."""
    sets: set[tuple[str, str]] = field(default_factory=set)
    """Section and name of each set that any encoder was scored on."""
    _labels: tuple[LabelledRecording, ...] | None = None

    def scores(self, encoder: Encoder, spec: str, *, is_baseline: bool) -> Iterator[SetScores]:
        """Yields the scores of an encoder by all protocols that it can be evaluated by."""
        info = encoder.info
        obstacles = [(protocol, self._obstacle(encoder, protocol)) for protocol in self.request.task.protocols]
        usable = [protocol for protocol, obstacle in obstacles if not obstacle]
        for protocol, obstacle in obstacles:
            if obstacle and not is_baseline:
                self.left_out.add(info.name, protocol, obstacle)

        def corrupted(corruptions: Sequence[Corruption], split: str) -> Iterator[EmbeddedRecordings]:
            return self._vectors.corrupted(info, spec, corruptions, split)

        model = Evaluated(
            encoder,
            self._audio(encoder, spec, usable),
            self._all_labels(usable),
            corrupted=None if isinstance(encoder, StoredEncoder) else corrupted,
        )
        for protocol in usable:
            yield from self._scores_by(protocol, model)

    def _scores_by(self, protocol: EvaluationProtocol, model: Evaluated) -> Iterator[SetScores]:
        reason = "no tag can be scored, since all recordings of a split have it, or none"
        try:
            for found in protocol.evaluate(model):
                self.sets.add((found.section, found.name))
                reason = ""
                yield found
        except (EvaluationError, StoredVectorsError) as error:
            reason = str(error)
        if reason:
            self.left_out.add(model.encoder.info.name, protocol, reason)

    @property
    def probes(self) -> list[ProbeProtocol]:
        """The protocols that train the head of a probe, in place of which a whole network can be trained."""
        return [each for each in self.request.task.protocols if isinstance(each, ProbeProtocol)]

    def end_to_end_scores(self, start: StartingNetwork) -> Iterator[SetScores]:
        """Yields the scores of a network that is trained end to end, by the probes; other protocols have no use."""
        options, say = self.options, self.observer.message

        def on_epoch(epoch: FinishedEpoch) -> None:
            if epoch.epoch == epoch.best_epoch:  # the others would be hundreds of lines
                say(f"train  {start.name} on {self.name}: {epoch}")

        assert options.finetune is not None
        for protocol in self.probes:
            splits = [split for split in protocol.splits if len(self._corpus.rows(split))]
            audio = self._vectors.of_splits(start.model, start.model.uri, splits).embedded
            network = EndToEnd(
                start,
                self._corpus,
                audio.of_splits(protocol.split),
                filesystem.join(options.out_uri, PREDICTIONS),
                partial(train_on_ray, use_gpu=options.use_gpu, on_epoch=on_epoch),
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
        task = self.request.task
        return TaskFacts(
            task.name,
            task.title,
            f"{task.description} {self.request.note}".rstrip(),
            self.request.uri,
            self.request.corpus.index_sha256 if self.request.corpus is not None else "",
            self.recordings,
            {model: skipped for model, skipped in self.skipped.items() if skipped},
            self.left_out.entries,
        )

    @property
    def _corpus(self) -> Corpus:
        assert self.request.corpus is not None, f"{self.name} has recordings, so it has a corpus"
        return self.request.corpus

    @property
    def _vectors(self) -> TaskVectors:
        return TaskVectors(self.name, self._corpus, self.options, self.observer)

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
            found = self._vectors.of_splits(encoder.info, spec, splits)
        audio, name = found.embedded, encoder.info.name
        self.skipped[name] = dict(found.skipped)
        self.recordings[name] = {split: sum(each.split == split for each in audio.recordings) for split in splits}
        if self.first_audio is None:
            scored = {protocol.split for protocol in protocols if isinstance(protocol, RecordingProtocol)}
            self.first_audio = TaskAudio(name, audio.of_splits(*scored).averaged())
        return audio

    def _all_labels(self, protocols: Sequence[EvaluationProtocol]) -> tuple[LabelledRecording, ...]:
        """Returns the recordings of the corpus without audio whose texts a protocol needs."""
        if self.request.corpus is None or all(protocol.splits for protocol in protocols):
            return ()
        if self._labels is None:
            wanted = {split for each in protocols if isinstance(each, TextTriplets) for split in each.source.splits}
            present = [split for split in SPLITS if split in wanted and len(self._corpus.rows(split))]
            if not present:
                return ()
            labels = read_labels(self._corpus, present)
            what, share = described(self._corpus, present), self.options.max_skipped_share
            check_skipped(labels.skipped, len(labels.recordings), what, max_skipped_share=share)
            self._labels = labels.recordings
        return self._labels
