"""The page of a report: one HTML file that contains its pictures and sounds, and fetches nothing."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from markupsafe import Markup, escape

from mulan.evaluation.report.class_tables import class_tables
from mulan.evaluation.report.drawing import PICTURE_FILTERS, Picture
from mulan.evaluation.report.examples import example_sets
from mulan.evaluation.report.robustness_picture import robustness_picture
from mulan.evaluation.report.robustness_table import robustness_tables
from mulan.evaluation.report.score_names import SECTION_TITLES, bounds, fixed, score_name
from mulan.evaluation.report.sounds import Excerpts
from mulan.evaluation.report.summary import scores_of, section_of, to_json
from mulan.evaluation.report.tables import SectionTable, section_tables
from mulan.evaluation.report.tag_tables import tag_tables
from mulan.evaluation.report.training import TrainingReport
from mulan.pages.rendering import Filters, render
from mulan.storage import filesystem

JSON_NAME, HTML_NAME = "report.json", "report.html"

_OPEN_TAGS = 60
"""Maximum number of tags of a table that is shown at once; larger ones are opened by the reader."""
_MAX_CHARACTERS = 400
"""Maximum number of characters of a detail; ``report.json`` has all."""
_MAX_UNBROKEN = 14
"""Maximum number of characters of a name that is never broken."""
_SHOWN = ("tags", "classes", "worst", "negations", "without_scores", "chance", "examples")
"""Details that the page shows elsewhere."""


@dataclass(frozen=True)
class PageContent:
    """What a page contains beside ``report.json``."""

    excerpts: Excerpts = field(default_factory=Excerpts)
    """Sounds of the recordings in the examples."""
    space: tuple[Picture, ...] = ()
    """Maps of the recordings."""
    training: TrainingReport | None = None
    """How the first model was trained; None if it is not known."""
    index_uri: str = ""
    """Folder of an index in which the first model searches; empty if there is none."""

    @property
    def serve_command(self) -> str:
        """The command that opens the index in a browser."""
        return f"python -m jobs.serve --index {shlex.quote(self.index_uri)}"


@dataclass(frozen=True)
class Card:
    """A score at the head of the page."""

    title: str
    """The section."""
    value: str
    """The score."""
    what: str
    """Which score of which set."""
    interval: str
    """Its 95 % interval; empty if there is none."""


def write_report(folder_uri: str, summary: Mapping[str, Any], content: PageContent) -> None:
    """Writes ``report.html`` and ``report.json`` to a folder, each atomically.

    Args:
        folder_uri: The folder, a local path or any fsspec URI.
        summary: Results of :func:`mulan.evaluation.report.summary.summarize`.
        content: Pictures and sounds of the page.
    """
    page, results = render_page(summary, content), to_json(summary)
    # in this order: where there are results, training no longer writes its own page
    filesystem.write_atomically(filesystem.join(folder_uri, JSON_NAME), results.encode())
    filesystem.write_atomically(filesystem.join(folder_uri, HTML_NAME), page.encode())


def render_page(summary: Mapping[str, Any], content: PageContent) -> str:
    """Renders the page of a report; all texts are escaped.

    Args:
        summary: Results of :func:`mulan.evaluation.report.summary.summarize`.
        content: Pictures and sounds of the page.
    """
    sections = section_tables(summary)
    filters: Filters = {
        "fixed": fixed,
        "breakable": _breakable,
        "by_equal": _by_equal,
        **PICTURE_FILTERS,
        "duration": _duration,
        "first": lambda values, count: list(islice(values.items(), count)),
    }
    return render(
        "mulan.evaluation.report",
        "page_template.html",
        filters,
        summary=summary,
        content=content,
        sections=sections,
        cards=list(_cards(summary, sections)),
        tag_tables=list(tag_tables(summary)),
        class_tables=list(class_tables(summary)),
        examples=example_sets(summary, content.excerpts),
        robustness=robustness_picture(summary),
        robustness_tables=robustness_tables(summary),
        details=list(_details(summary, sections)),
        open_tags=_OPEN_TAGS,
    )


def _cards(summary: Mapping[str, Any], sections: list[SectionTable]) -> Iterator[Card]:
    """Yields the first score of the first model in each section; of robustness, what is left of it at strength 5."""
    for table in sections:
        sets = section_of(summary, table.key)
        if table.key == "robustness" and sets:
            yield _robustness_card(sets)
            continue
        for name, scored in islice(sets.items(), 1):
            score, value = next(iter(scores_of(scored).items()))
            named = score_name(score)
            interval = bounds(scored["intervals"].get(score), named.digits)
            yield Card(SECTION_TITLES[table.key], fixed(value, named.digits), f"{named.label}, {name}", interval)


def _robustness_card(sets: Mapping[str, Any]) -> Card:
    """Returns the mean score at the highest strength over the corruptions of the first set."""
    first = next(iter(sets.values()))
    strongest = max(scores_of(first))
    keys = ("section", "set", "score")
    same = [each for each in sets.values() if all(each["details"][key] == first["details"][key] for key in keys)]
    values = [value for each in same if (value := each.get(strongest)) is not None]
    named = score_name(first["details"]["score"])
    mean = fixed(sum(values) / len(values) if values else None, named.digits)
    kinds = f"{len(values)} corruption{'s' if len(values) != 1 else ''}"
    uncorrupted = fixed(first["strength_0"], named.digits)
    at = strongest.replace("_", " ")
    what = f"mean {named.label} at {at} of {kinds}, {uncorrupted} without; {first['details']['set']}"
    return Card(SECTION_TITLES["robustness"], mean, what, "")


def _by_equal(by_model: Mapping[str, Any]) -> list[tuple[Any, list[str]]]:
    """Returns the distinct values of models, each with the names of the models that have it."""
    values: list[tuple[Any, list[str]]] = []
    for model, value in by_model.items():
        names = next((names for known, names in values if known == value), None)
        if names is None:
            values.append((value, [model]))
        else:
            names.append(model)
    return values


def _breakable(text: str) -> Markup:
    """Returns a text as HTML in which long names may be broken after an underscore, a slash or a dot."""
    if len(text) <= _MAX_UNBROKEN:
        return escape(text)
    return Markup(re.sub(r"(?<=\w)([_/]|\.(?=[a-z]))(?=\w)", r"\1<wbr>", str(escape(text))))


def _details(
    summary: Mapping[str, Any], sections: list[SectionTable]
) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yields section, set, and what else is known about the set, as names and texts."""
    for table in sections:
        for name, found in section_of(summary, table.key).items():
            rows = [
                (key.replace("_", " "), _shortened(value))
                for key, value in found["details"].items()
                if key not in _SHOWN
            ]
            if rows:
                yield table.key, name, rows


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} …"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
