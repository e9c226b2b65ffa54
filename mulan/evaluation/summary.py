"""The end of a run on the terminal: the table of results, the example queries and where the report is."""

from rich.console import Console
from rich.table import Table

from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.zero_shot import split_tag


def print_summary(evaluation: Evaluation, report_path: str, console: Console) -> None:
    """Prints the results; legible as plain text, where the console is no terminal, and not cut there.

    Args:
        evaluation: what was measured.
        report_path: of ``report.html``.
        console: where to print.
    """
    console.print(_results(evaluation))
    for query in evaluation.examples:
        console.print(f'"{query.text}"', style="bold", markup=False, highlight=False, soft_wrap=True)
        for rank, hit in enumerate(query.hits, 1):
            line = f"  {rank}. {hit.score:+.3f}  {hit.recording_id}  {', '.join(split_tag(tag)[1] for tag in hit.tags)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if evaluation.recordings.unreadable:
        names = ", ".join(sorted(evaluation.recordings.unreadable))
        console.print(f"left out as unreadable: {names}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"report: {report_path}", markup=False, highlight=False, soft_wrap=True)


def _results(evaluation: Evaluation) -> Table:
    control, n_recordings = evaluation.control, len(evaluation.recordings.recording_ids)
    table = Table(title=f"{evaluation.split} split, {n_recordings} recordings", title_justify="left")
    table.add_column("evaluation")
    for name in ("result", "chance", "shuffled", "of"):
        table.add_column(name, justify="right")
    for category, scores in evaluation.zero_shot.items():
        tags = f"{scores.n_tags} tags"
        shuffled = f"{control.per_category[category]:.3f}"
        table.add_row(f"zero-shot {category}: ROC-AUC", f"{scores.roc_auc:.3f}", "0.500", shuffled, tags)
        table.add_row(f"zero-shot {category}: mAP", f"{scores.map:.3f}", f"{scores.prevalence:.3f}", "", tags)
    table.add_row("zero-shot, mean: ROC-AUC", f"{evaluation.roc_auc:.3f}", "0.500", f"{control.roc_auc:.3f}")
    found = evaluation.retrieval
    if found is not None:
        queries, middle = f"{found.n_queries} queries", (found.n_items + 1) / 2
        table.add_row("text to music: mAP@10", f"{found.map10:.3f}", "", f"{control.map10:.3f}", queries)
        table.add_row("text to music: recall@10", f"{found.recall10:.3f}", "", f"{control.recall10:.3f}", queries)
        table.add_row(
            "text to music: median rank",
            f"{found.median_rank:.1f}",
            f"{middle:.1f}",
            f"{control.median_rank:.1f}",
            queries,
        )
    return table
