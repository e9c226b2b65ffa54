"""The report of an evaluation: its summary, with pictures and sounds of the recordings that it names."""

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from mulan.data.corpus.records import read_record
from mulan.data.errors import BadRecording
from mulan.evaluation.evaluation import TaskEvaluation
from mulan.evaluation.published import published_figures
from mulan.evaluation.recordings import LabelledRecording
from mulan.evaluation.report.embedding_map import embedding_map
from mulan.evaluation.report.examples import heard_recordings
from mulan.evaluation.report.page import PageContent, write_report
from mulan.evaluation.report.sounds import HeardRecording, excerpts
from mulan.evaluation.report.summary import summarize

_MIN_ON_MAP = 5
"""Minimum number of recordings of a map."""
_MAX_MAPS = 4
"""Maximum number of maps, one for each task."""


def report_evaluation(evaluation: TaskEvaluation, out_uri: str) -> Mapping[str, Any]:
    """Writes ``report.json`` and ``report.html`` to a folder, and returns the content of the former."""
    summary = summarize(
        evaluation.scores,
        models=evaluation.models,
        tasks=evaluation.tasks,
        published=published_figures(),
        seconds=evaluation.seconds,
    )
    labels = {name: {each.recording_id: each for each in audio.recordings} for name, audio in evaluation.audio.items()}
    heard = heard_recordings(summary)
    content = PageContent(
        excerpts=excerpts(heard, lambda recording: _read(evaluation, recording)),
        recordings={recording: found for recording in heard if (found := _known(labels, recording)) is not None},
        space=tuple(
            embedding_map(audio)
            for audio in list(evaluation.audio.values())[:_MAX_MAPS]
            if len(audio.recordings) >= _MIN_ON_MAP
        ),
    )
    write_report(out_uri, summary, content)
    return summary


def _known(
    labels: Mapping[str, Mapping[str, LabelledRecording]], recording: HeardRecording
) -> LabelledRecording | None:
    """Returns what is known about a recording, from whichever task has it."""
    return next((found[recording.recording_id] for found in labels.values() if recording.recording_id in found), None)


def _read(evaluation: TaskEvaluation, recording: HeardRecording) -> bytes | None:
    """Returns the encoded file of a recording; None if it cannot be read any more."""
    corpus = evaluation.corpora[recording.section, recording.set_name]
    row = pc.index(corpus.table["recording_id"], recording.recording_id).as_py()
    try:
        return read_record(corpus, row).audio
    except BadRecording:
        return None
