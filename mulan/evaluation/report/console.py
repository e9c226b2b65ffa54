"""The results of an evaluation as a table on the console."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mulan.evaluation.corruptions import STRENGTHS
from mulan.evaluation.report.examples import example_sets
from mulan.evaluation.report.robustness_table import RobustnessTable, robustness_tables
from mulan.evaluation.report.score_names import fixed
from mulan.evaluation.report.sounds import Excerpts
from mulan.evaluation.report.tables import SectionTable, section_tables

_MAX_SETS = 24
"""Maximum number of sets of a section that are printed; the page has all."""
_QUERIES, _MAX_CHARACTERS = 3, 200
"""Number of queries that are printed with what they found, and of the characters of each."""
_MAX_SKIPPED = 20
"""Maximum number of skipped recordings that are named for a task."""


def print_report(summary: Mapping[str, Any], report_uri: str, console: Console) -> None:
    """Prints the results; without a terminal they are plain text. Names are folded, not cut.

    Args:
        summary: Results of :func:`mulan.evaluation.report.summary.summarize`.
        report_uri: Path or URI of ``report.html``.
        console: Console to print to.
    """
    sections = section_tables(summary)
    first = summary["models"][0]["name"]
    for section in sections:
        if section.key == "robustness":
            console.print(_robustness_table(section.title, robustness_tables(summary)))
            continue
        console.print(_table(section, first))
        if len(section.sets) > _MAX_SETS:
            _say(console, f"{len(section.sets) - _MAX_SETS} more sets are in the report")
    _print_examples(summary, console)
    for task in summary["tasks"]:
        _left_out(console, task)
    if "ablation" in summary:
        _print_ablation(summary["ablation"], console)
    _say(console, f"report: {report_uri}")


def _table(section: SectionTable, first: str) -> Table:
    table = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in (first, "95 % interval", "chance", *section.others):
        table.add_column(Text(name), justify="right", overflow="fold")
    for each in section.sets[:_MAX_SETS]:
        table.add_row(Text(each.name, style="bold", overflow="fold"))
        for row in each.rows:
            others = ["\n".join(filter(None, (other.value, other.difference))) for other in row.others]
            table.add_row(*map(Text, (f"  {row.label}", row.value, row.interval, row.chance, *others)))
    return table


def _robustness_table(title: str, tables: Sequence[RobustnessTable]) -> Table:
    shown = Table(title=f"{title}, by strength of the corruption", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("")
    for strength in STRENGTHS:
        shown.add_column(str(strength) if strength else "none", justify="right")
    for table in tables[:_MAX_SETS]:
        shown.add_row(Text(table.title, style="bold", overflow="fold"))
        for row in table.rows:
            shown.add_row(*map(Text, (f"  {row.corruption} {row.model}".rstrip(), *row.scores)))
    return shown


def _print_examples(summary: Mapping[str, Any], console: Console) -> None:
    """Prints queries of the first set that has some, with what the first model found."""
    for query in [query for each in example_sets(summary, Excerpts())[:1] for query in each.queries][:_QUERIES]:
        console.print(f'"{query.text:.{_MAX_CHARACTERS}}"', style="bold", markup=False, highlight=False, soft_wrap=True)
        for place, hit in enumerate(query.hits, 1):
            mark = "\N{CHECK MARK}" if hit.is_relevant else " "
            name = " ".join(filter(None, [hit.recording_id, hit.title]))
            _say(console, f"  {place}. {mark} {hit.similarity:+.3f}  {name}  {hit.tags}".rstrip())


def _print_ablation(ablation: Mapping[str, Any], console: Console) -> None:
    """Prints the tables of a text ablation that have a score, and says what is missing and why."""
    texts = {variant["name"]: variant["texts"] for variant in ablation["variants"]}
    for table in ablation["tables"]:
        title = f"Table {table['paper']}: {table['title']}" if table["paper"] else table["title"]
        if not all(column["empty"] for column in table["columns"]):
            console.print(_ablation_table(title, table, texts))
        for note in table["empty"]:
            _say(console, f"{title}: {note}")
    for variant in ablation["variants"]:
        if variant["missing"]:
            _say(console, f"{variant['name']} ({variant['texts']}) is missing: {variant['missing']}", style="yellow")


def _ablation_table(title: str, table: Mapping[str, Any], texts: Mapping[str, str]) -> Table:
    columns = table["columns"]
    has_published = any(column["published"] for column in columns)
    shown = Table(
        title=f"{title}, ours (published)" if has_published else title, title_justify="left", box=box.SIMPLE_HEAD
    )
    shown.add_column("")
    for column in columns:
        name = column["set"] if column["set"] != column["label"] and not column["empty"] else ""
        heading = "\n".join(filter(None, (column["label"], column["score_label"], name)))
        shown.add_column(Text(heading), justify="right", overflow="fold")
    for row in table["rows"]:
        cells = [
            fixed(cell["ours"]) + (f" ({fixed(cell['published'])})" if column["published"] else "")
            for cell, column in zip(row["cells"], columns, strict=True)
        ]
        shown.add_row(*map(Text, (texts[row["variant"]], *cells)))
    return shown


def _left_out(console: Console, task: Mapping[str, Any]) -> None:
    for entry in task["left_out"]:
        line = f"{task['name']}: {entry['model']} has no {entry['what']}: {entry['reason']}"
        _say(console, line, style="yellow")
    skipped = sorted({recording for of_model in task["skipped"].values() for recording in of_model})
    if skipped:
        more = f" and {len(skipped) - _MAX_SKIPPED} more" if len(skipped) > _MAX_SKIPPED else ""
        named = ", ".join(skipped[:_MAX_SKIPPED])
        _say(console, f"{task['name']}: skipped recordings: {named}{more}", style="yellow")


def _say(console: Console, line: str, *, style: str = "") -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
