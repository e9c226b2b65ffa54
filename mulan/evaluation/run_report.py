"""The report of a run: ``report.json``, and ``report.html`` as one self-contained page."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mulan.config.checks import pretraining_warnings
from mulan.config.objectives import collapsed_losses
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.figures import caption_similarity, curve, embedding_map, tag_similarity
from mulan.evaluation.report.drawing import Picture
from mulan.pages.rendering import Filters, data_uri, render
from mulan.storage import filesystem

JSON_NAME, HTML_NAME = "report.json", "report.html"

_MIN_ON_MAP = 5
"""Minimum number of recordings for the map."""


def write_report(
    run_uri: str,
    evaluation: Evaluation,
    *,
    steps: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    recipe_toml: str,
) -> None:
    """Writes ``RUN_URI/report.json`` and ``RUN_URI/report.html``, each atomically.

    Args:
        run_uri: The run's folder, a local path or any fsspec URI.
        evaluation: Results of the evaluation.
        steps: Lines of ``metrics.jsonl``: ``step``, ``loss``, ``temperature``, ``grad_norm``, ``pairs_per_s`` and
            ``data_wait_s`` of each training step, and ``step`` and ``validation`` of each validation.
        seconds: Duration of each stage of the run, by name.
        recipe_toml: The resolved recipe.

    Raises:
        RecipeError: ``recipe_toml`` is not a valid recipe.
    """
    recipe = recipe_from_toml(recipe_toml, name="of the run")
    summary = evaluation.summary() | {
        "training": _training(steps, recipe),
        "warnings": list(pretraining_warnings(recipe.audio_tower)),
        "seconds": dict(seconds),
    }
    page = render_page(summary, _curves(steps, recipe), _pictures(evaluation), recipe_toml)
    content = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
    filesystem.write_atomically(filesystem.join(run_uri, HTML_NAME), page.encode())
    filesystem.write_atomically(filesystem.join(run_uri, JSON_NAME), content.encode() + b"\n")


def render_page(
    summary: Mapping[str, Any], curves: Sequence[Picture], pictures: Mapping[str, Picture], recipe_toml: str
) -> str:
    """Renders the HTML page of a summary in the format of ``report.json``; figures are inlined, nothing is fetched."""
    filters: Filters = {"fixed": _fixed, "data_uri": _data_uri, "duration": _duration, "tag_text": _tag_text}
    return render(
        "mulan.evaluation",
        "report_template.html",
        filters,
        summary=summary,
        curves=curves,
        pictures=pictures,
        recipe_toml=recipe_toml,
    )


def _training(steps: Sequence[Mapping[str, Any]], recipe: Recipe) -> dict[str, Any]:
    """Returns the last values of training, and the loss of chance."""
    last = next(reversed(_updates(steps)), None)
    validation = next((line["validation"] for line in reversed(steps) if "validation" in line), None)
    return {
        "steps": max((line["step"] for line in steps if "loss" in line), default=0),
        "pairs_per_batch": recipe.batch.pairs,
        "loss": last["loss"] if last else None,
        "loss_of_chance": _loss_of_chance(recipe),
        "temperature": last["temperature"] if last else None,
        "validation": validation,
    }


def _loss_of_chance(recipe: Recipe) -> float | None:
    """Returns the loss of equal similarities; None if it depends on more than the size of the batch."""
    values = collapsed_losses(recipe.loss, recipe.batch.pairs)
    weights = {term: weight for term, weight in recipe.loss.weights if weight}
    return sum(weight * values[term] for term, weight in weights.items()) if weights.keys() <= values.keys() else None


def _updates(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the steps that updated the weights; the others have a non-finite value, stored as null."""
    return [line for line in steps if "loss" in line and None not in line.values()]


def _curves(steps: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[Picture]:
    trained = _updates(steps)
    validated = [{"step": line["step"]} | line["validation"] for line in steps if "validation" in line]
    pictures = []
    if trained:
        chance = _loss_of_chance(recipe)
        level = None if chance is None else (chance, "all similarities equal")
        pictures += [
            curve(trained, "loss", title="Training loss", unit="nats", level=level),
            curve(trained, "temperature", title="Temperature", unit="temperature (no unit)"),
            curve(trained, "grad_norm", title="Gradient norm before clipping", unit="L2 norm"),
            curve(trained, "pairs_per_s", title="Throughput", unit="pairs / s"),
        ]
    if validated:
        pictures.append(curve(validated, "recall10", title="Validation recall@10", unit="share of texts"))
    return pictures


def _pictures(evaluation: Evaluation) -> dict[str, Picture]:
    pictures = {}
    if evaluation.prompts:
        pictures["tags"] = tag_similarity(evaluation)
    if evaluation.queries:
        pictures["captions"] = caption_similarity(evaluation)
    if len(evaluation.recordings.recording_ids) >= _MIN_ON_MAP:
        pictures["map"] = embedding_map(evaluation)
    return pictures


def _data_uri(picture: Picture) -> str:
    return data_uri(picture.svg, "image/svg+xml")


def _tag_text(tag: str) -> str:
    return split_tag(tag)[1]


def _fixed(value: float | None, digits: int = 3) -> str:
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def print_summary(evaluation: Evaluation, report_path: str, console: Console) -> None:
    """Prints the results; without a terminal they are plain text and lines are not truncated.

    Args:
        evaluation: Results of the evaluation.
        report_path: Path of ``report.html``.
        console: Console to print to.
    """
    console.print(_results(evaluation))
    for query in evaluation.examples:
        console.print(f'"{query.text}"', style="bold", markup=False, highlight=False, soft_wrap=True)
        for rank, hit in enumerate(query.hits, 1):
            line = f"  {rank}. {hit.score:+.3f}  {hit.recording_id}  {', '.join(split_tag(tag)[1] for tag in hit.tags)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if evaluation.recordings.skipped:
        names = ", ".join(sorted(evaluation.recordings.skipped))
        console.print(f"skipped recordings: {names}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"report: {report_path}", markup=False, highlight=False, soft_wrap=True)


def _results(evaluation: Evaluation) -> Table:
    control, num_recordings = evaluation.control, len(evaluation.recordings.recording_ids)
    table = Table(title=f"{evaluation.split} split, {num_recordings} recordings", title_justify="left")
    table.add_column("evaluation")
    for name in ("result", "chance", "shuffled", "of"):
        table.add_column(name, justify="right")
    for category, scores in evaluation.zero_shot.items():
        tags = f"{scores.num_tags} tags"
        shuffled = _fixed(control.per_category[category])
        table.add_row(f"zero-shot {category}: ROC-AUC", _fixed(scores.roc_auc), "0.500", shuffled, tags)
        table.add_row(f"zero-shot {category}: mAP", _fixed(scores.map), _fixed(scores.prevalence), "", tags)
    table.add_row("zero-shot, mean: ROC-AUC", _fixed(evaluation.roc_auc), "0.500", _fixed(control.roc_auc))
    retrieval = evaluation.retrieval
    if retrieval is not None:
        queries, chance = f"{retrieval.num_queries} queries", (retrieval.num_items + 1) / 2
        table.add_row("text to music: mAP@10", _fixed(retrieval.map10), "", _fixed(control.map10), queries)
        table.add_row("text to music: recall@10", _fixed(retrieval.recall10), "", _fixed(control.recall10), queries)
        table.add_row(
            "text to music: median rank",
            f"{retrieval.median_rank:.1f}",
            f"{chance:.1f}",
            f"{control.median_rank:.1f}",
            queries,
        )
    return table
