"""The evaluation of models on the cluster, from the embedding of recordings to the written and printed report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from mulan.config.errors import ErrorCollection
from mulan.config.sections import ScaleConfig
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.evaluation import evaluate
from mulan.evaluation.options import EvaluationObserver, EvaluationOptions
from mulan.evaluation.report.ablation_table import Ablation
from mulan.evaluation.report.assembly import report_evaluation
from mulan.evaluation.report.console import print_report
from mulan.evaluation.report.page import HTML_NAME
from mulan.evaluation.report.training import training_report
from mulan.evaluation.tasks.request import TaskRequest
from mulan.launch.cluster import started_ray
from mulan.launch.heartbeat import report_waiting
from mulan.launch.tracked_evaluation import evaluation_results
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.results import send_evaluation


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated, and how."""

    models: Mapping[str, str]
    """Encoders as in :func:`mulan.evaluation.encoders.registry.open_encoder`, by their names in the report; at least
    one."""
    tasks: Sequence[TaskRequest]
    """Tasks with their corpora, at least one."""
    options: EvaluationOptions
    """How recordings are embedded, and where the report is written."""
    baselines: Mapping[str, str] = field(default_factory=dict)
    """Further encoders by name, which are evaluated by the protocols that need no text."""
    run: Run | None = None
    """The run that trained the first model, whose training the report describes; None if it is not known."""
    ablation: Ablation | None = None
    """What the models are variants of, if the report is to have the tables of a text ablation."""


def check_models(specs: Iterable[str]) -> None:
    """Loads every model and discards it, so that nothing is embedded in vain.

    Args:
        specs: Encoders as in :func:`mulan.evaluation.encoders.registry.open_encoder`.

    Raises:
        MulanError: A model cannot be loaded; lists the errors of all models.
    """
    errors = ErrorCollection()
    for spec in specs:
        with errors.collecting():
            open_encoder(spec, device="cpu")
    errors.raise_any()


def evaluate_and_report(
    request: EvaluationRequest, console: Console, observer: EvaluationObserver
) -> Mapping[str, Any]:
    """Evaluates models, writes ``report.json`` and ``report.html``, and prints the results. Ray must be initialised.

    Args:
        request: What is evaluated.
        console: Console to print to.
        observer: Receives messages and progress.

    Returns:
        The content of ``report.json``.

    Raises:
        MulanError: A model, a corpus or a task cannot be used, or too many recordings were skipped.
    """
    run = request.run
    options = replace(request.options, on_this_machine=started_ray())
    with report_waiting("evaluate", ScaleConfig(workers=1, use_gpu=options.use_gpu), console):
        evaluation = evaluate(request.models, request.tasks, options, baselines=request.baselines, observer=observer)
    training = None if run is None else training_report(run.metrics(), run.recipe(), run.seconds())
    index_uri = run.search_index_uri if run is not None and run.has_search_index else ""
    report = report_evaluation(evaluation, options.out_uri, training, request.ablation, index_uri)
    print_report(report.summary, filesystem.join(options.out_uri, HTML_NAME), console)
    if run is not None and run.recipe().logging.trackers:
        send_evaluation(run, run.exported_steps() or 0, evaluation_results(report, options.out_uri))
    return report.summary
