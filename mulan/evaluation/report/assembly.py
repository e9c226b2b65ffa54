"""The report of an evaluation: its summary, with pictures and sounds of the recordings that it names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mulan.data.corpus.records import read_record
from mulan.data.errors import BadRecording
from mulan.evaluation.evaluation import TaskEvaluation
from mulan.evaluation.published import published_figures
from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.evaluation.report.ablation_table import Ablation, ablation_tables
from mulan.evaluation.report.drawing import Picture
from mulan.evaluation.report.embedding_map import MIN_RECORDINGS, embedding_map
from mulan.evaluation.report.examples import heard_recordings
from mulan.evaluation.report.page import PageContent, write_report
from mulan.evaluation.report.sounds import HeardRecording, excerpts
from mulan.evaluation.report.summary import summarize
from mulan.evaluation.report.training import TrainingReport

_MAX_MAPS = 4
"""Maximum number of maps, one for each task."""


@dataclass(frozen=True)
class WrittenReport:
    """A report that has been written."""

    summary: Mapping[str, Any]
    """Content of ``report.json``."""
    maps: tuple[Picture, ...]
    """Maps of the recordings."""


def report_evaluation(
    evaluation: TaskEvaluation,
    out_uri: str,
    training: TrainingReport | None = None,
    ablation: Ablation | None = None,
    index_uri: str = "",
) -> WrittenReport:
    """Writes ``report.json`` and ``report.html`` to a folder.

    Args:
        evaluation: The results.
        out_uri: The folder, a local path or any fsspec URI.
        training: How the first model was trained; None if it is not known.
        ablation: What the models are variants of, if the report is to have the tables of a text ablation.
        index_uri: Folder of an index in which the first model searches; empty if there is none.
    """
    summary = summarize(
        evaluation.scores,
        models=evaluation.models,
        tasks=evaluation.tasks,
        published=published_figures(),
        seconds=evaluation.seconds,
    )
    if training is not None:
        summary["training"] = training.facts
    if ablation is not None:
        summary["ablation"] = ablation_tables(summary, ablation, published_figures())
    content = PageContent(
        excerpts=excerpts(heard_recordings(summary), lambda recording: _read(evaluation, recording)),
        space=tuple(islice(_maps(evaluation), _MAX_MAPS)),
        training=training,
        index_uri=index_uri,
    )
    write_report(out_uri, summary, content)
    return WrittenReport(summary, content.space)


def _maps(evaluation: TaskEvaluation) -> Iterator[Picture]:
    """Yields a map of the recordings that each task scores; tasks that score the same ones have one map."""
    titles = {task.name: task.title or task.name for task in evaluation.tasks}
    found: dict[tuple[str, ...], tuple[EmbeddedRecordings, list[str], str]] = {}
    for task, audio in evaluation.audio.items():
        key = (audio.model, *(each.recording_id for each in audio.scored.recordings))
        found.setdefault(key, (audio.scored, [], audio.model))[1].append(titles[task])
    for scored, of_tasks, model in found.values():
        if len(scored.recordings) >= MIN_RECORDINGS:
            others = f" and {len(of_tasks) - 1} more" if len(of_tasks) > 1 else ""
            yield embedding_map(scored, title=f"{of_tasks[0]}{others}, {model}")


def _read(evaluation: TaskEvaluation, recording: HeardRecording) -> bytes | None:
    """Returns the encoded file of a recording; None if it cannot be read any more."""
    corpus = evaluation.corpora[recording.section, recording.set_name]
    row = pc.index(corpus.column("recording_id"), pa.scalar(recording.recording_id, pa.large_string())).as_py()
    try:
        return read_record(corpus, row).audio
    except BadRecording:
        return None
