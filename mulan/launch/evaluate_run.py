"""The evaluation of a run's exported model, whose results are written to the run's folder."""

import time

from rich.console import Console

from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import Corpus
from mulan.evaluation.evaluate import Evaluation, evaluate
from mulan.evaluation.run_report import print_summary, write_report
from mulan.launch.cluster import started_ray
from mulan.launch.heartbeat import report_waiting
from mulan.runs.run import Run
from mulan.storage import filesystem


def evaluate_run(
    run: Run, console: Console, *, corpus: Corpus, split: str = "test", use_gpu: bool = False
) -> Evaluation:
    """Evaluates a run's exported model, writes ``report.json`` and ``report.html``, and prints the results.

    Args:
        corpus: The corpus to evaluate on.
        split: ``train``, ``validation`` or ``test``.
        use_gpu: True to embed on GPUs.

    Raises:
        MulanError: The run, model, corpus or split does not exist, or too many recordings were skipped.
    """
    recipe = run.recipe()
    begun = time.monotonic()
    with report_waiting("evaluate", ScaleConfig(workers=1, use_gpu=use_gpu), console):
        evaluation = evaluate(
            run.model_uri,
            corpus,
            split=split,
            max_skipped_share=recipe.data.max_skipped_share,
            use_gpu=use_gpu,
            restart_actors=not started_ray(),  # a cluster of this machine alone does not outlive it
        )
    seconds = run.seconds() | {"evaluate": time.monotonic() - begun}
    write_report(run.uri, evaluation, steps=run.metrics(), seconds=seconds, recipe_toml=recipe.to_toml())
    print_summary(evaluation, filesystem.join(run.uri, "report.html"), console)
    return evaluation
