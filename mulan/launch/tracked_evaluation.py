"""An evaluation in the terms of experiment trackers."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.assembly import WrittenReport
from mulan.evaluation.report.page import HTML_NAME, JSON_NAME
from mulan.evaluation.report.robustness_picture import robustness_picture
from mulan.evaluation.report.summary import scores_of, section_of
from mulan.storage import filesystem
from mulan.tracking.results import EvaluationResults
from mulan.tracking.scalars import scalar_name
from mulan.tracking.tracker import PngPicture, Table


class _ScoredRow(NamedTuple):
    """A row of the table of scores; ``low`` and ``high`` are the bounds of the 95 % interval."""

    model: str
    section: str
    set_name: str
    score: str
    value: float | None
    low: float | None
    high: float | None


def evaluation_results(report: WrittenReport, folder_uri: str) -> EvaluationResults:
    """Returns the scores, tables, pictures and files of a report.

    Scalars are those of the first model, ``evaluation/SECTION/SET/SCORE``; the table ``evaluation/scores`` has those of
    all models.

    Args:
        report: The report.
        folder_uri: The folder that it was written to.
    """
    summary = report.summary
    first = list(_rows(summary["models"][0]["name"], summary))
    others = [row for model, sections in summary["others"].items() for row in _rows(model, sections)]
    corrupted = robustness_picture(summary)
    pictures = {f"evaluation/map_{number}": each for number, each in enumerate(report.maps, 1)}
    pictures |= {"evaluation/robustness": corrupted} if corrupted else {}
    return EvaluationResults(
        scores={
            scalar_name("evaluation", *row.section.split("."), row.set_name, row.score): row.value
            for row in first
            if row.value is not None
        },
        tables={"evaluation/scores": Table(_ScoredRow._fields, [*first, *others])},
        pictures={name: PngPicture(each.png(), each.alt) for name, each in pictures.items()},
        file_uris=[filesystem.join(folder_uri, name) for name in (HTML_NAME, JSON_NAME)],
    )


def _rows(model: str, sections: Mapping[str, Any]) -> Iterator[_ScoredRow]:
    for section in SECTIONS:
        for name, found in section_of(sections, section).items():
            for score, value in scores_of(found).items():
                low, high = found["intervals"].get(score) or (None, None)
                yield _ScoredRow(model, section, name, score, None if value is None else float(value), low, high)
