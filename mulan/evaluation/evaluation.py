"""The evaluation of encoders by tasks: recordings are embedded once, and protocols compute scores of the vectors."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from mulan.data.corpus.index import Corpus
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.end_to_end import StartingNetwork, starting_networks
from mulan.evaluation.options import EvaluationObserver, EvaluationOptions, SilentObserver
from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.recordings import TaskAudio
from mulan.evaluation.report.summary import TaskFacts, distinct_sets
from mulan.evaluation.task_run import TaskRun
from mulan.evaluation.tasks.request import TaskRequest


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
        MulanError: An encoder or a corpus cannot be used.
    """
    observer = observer or SilentObserver()
    for request in requests:
        if request.note:
            observer.message(f"{request.task.name}: {request.note}")
    runs = [TaskRun(request, options, observer) for request in requests]
    scores: dict[str, list[SetScores]] = {}
    infos, seconds = [], {}
    further = {_free_name(name, specs): spec for name, spec in (baselines or {}).items() if spec not in specs.values()}
    everything = {**specs, **further}
    for name, spec in everything.items():
        begun = time.monotonic()
        encoder = open_encoder(spec, name=name, device=None if options.use_gpu else "cpu")
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


def _starting_networks(models: Sequence[EncoderInfo], runs: Sequence[TaskRun]) -> list[StartingNetwork]:
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
