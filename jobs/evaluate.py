"""Evaluate models: python -m jobs.evaluate --model URI --task NAME=CORPUS --out URI

Writes report.json, report.html and the embeddings. With --storage URI --name RUN instead, the model of a run is
evaluated on a held-out split of its corpus, and the report is written to the run's folder.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.joining import join_to_evaluate
from jobs.progress import RecordingsProgress
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import SPLITS, Corpus
from mulan.launch.checks import check_loadable, check_model
from mulan.runs.run import Run
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.evaluation.tasks.request import TaskRequest


class EvaluationRefused(MulanError, ValueError):
    """The arguments of an evaluation do not go together."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model",
        metavar="[KIND=]URI",
        action="append",
        default=[],
        help="an encoder: the folder of an exported model or of a ClapModel; or KIND=URI of the kinds parquet, python, "
        "text, text-cls, text-mean and untrained; or log_mel; may be repeated: the others are compared with the first",
    )
    parser.add_argument(
        "--task",
        metavar="NAME[=CORPUS]",
        action="append",
        default=[],
        help="a task, and the folder of its corpus (default: --data); may be repeated; an unknown name lists all",
    )
    parser.add_argument("--out", metavar="URI", help="folder of the report, with --model")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also evaluate probes on the first model of mulan, or ClapModel, with random weights instead of its own, "
        "and on log-mel statistics",
    )
    parser.add_argument("--use-gpu", action="store_true", help="embed on GPUs, with --model")
    arguments.add_recipe(parser, of_run=True)
    arguments.add_run(parser, name="")
    arguments.add_data(parser, default="the training corpus of the run")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="test",
        help="split that is scored: of a run's corpus, or by tasks of any corpus; default: %(default)s",
    )
    args = parser.parse_args()
    if args.model or args.task or args.out:
        evaluate_models(args)
    elif args.name:
        evaluate_run_of(args)
    else:
        raise EvaluationRefused("nothing is named: give --model, --task and --out, or --storage and --name of a run")


def evaluate_models(args: argparse.Namespace) -> None:
    """Evaluates ``--model`` by ``--task``, and writes the report to ``--out``."""
    missing = [name for name in ("model", "task", "out") if not getattr(args, name)]
    if missing:
        raise EvaluationRefused(f"--{', --'.join(missing)} is missing: --model, --task and --out belong together")
    if args.name:
        raise EvaluationRefused("--name is that of a run; leave it out, or --model, --task and --out")
    out_uri = filesystem.absolute(args.out)
    filesystem.check_writable(out_uri)
    # imports torch
    from mulan.evaluation.encoders.registry import absolute_spec, baseline_specs, encoder_names
    from mulan.evaluation.tasks.request import task_requests

    specs = dict(zip(encoder_names(args.model), map(absolute_spec, args.model), strict=True))
    requests = task_requests(args.task, default_corpus=args.data, split=args.split)
    if args.dry_run:
        for request in requests:
            print(f"{request.task.name}: {request.task.title}, {request.corpus.uri}")
        return
    baselines = baseline_specs(list(specs.values())) if args.baselines else {}
    evaluate_and_report(specs, requests, out_uri, use_gpu=args.use_gpu, baselines=baselines)


def evaluate_and_report(
    specs: Mapping[str, str],
    requests: "Sequence[TaskRequest]",
    out_uri: str,
    *,
    use_gpu: bool,
    baselines: Mapping[str, str] | None = None,
) -> None:
    """Evaluates encoders by tasks on the cluster, writes the report to a folder, and prints it.

    Args:
        specs: Encoders by name, and ``baselines``, as in :func:`mulan.evaluation.evaluation.evaluate`.
        requests: Tasks with their corpora.
        out_uri: Folder of the report.
        use_gpu: True to embed on GPUs.
        baselines: Further encoders, without text.

    Raises:
        MulanError: The cluster, an encoder or a corpus cannot be used, or a task has nothing to evaluate.
    """
    # imports torch and Ray
    from mulan.evaluation.evaluation import EvaluationOptions, evaluate
    from mulan.evaluation.report.assembly import report_evaluation
    from mulan.evaluation.report.console import print_report
    from mulan.launch.cluster import started_ray

    join_to_evaluate(ScaleConfig(workers=1, use_gpu=use_gpu))
    evaluation = evaluate(
        specs,
        requests,
        # a cluster of this machine alone does not outlive it
        EvaluationOptions(out_uri, use_gpu=use_gpu, restart_actors=not started_ray()),
        baselines=baselines,
        observer=_ConsoleObserver(),
    )
    summary = report_evaluation(evaluation, out_uri)
    print_report(summary, filesystem.join(out_uri, "report.html"), CONSOLE)


class _ConsoleObserver:
    """Shows messages and the progress of embedding on the console."""

    def message(self, line: str) -> None:
        CONSOLE.print(f"embed  {line}", soft_wrap=True)

    def progress(self, label: str) -> AbstractContextManager[RecordingsProgress]:
        return RecordingsProgress(f"embed  {label}", CONSOLE)


def evaluate_run_of(args: argparse.Namespace) -> None:
    """Evaluates the model of a run, and writes the report to the run's folder."""
    run = arguments.run_of(args)
    recipe = arguments.recipe_of_run(args, run)
    data_uri = arguments.data_of(args, recipe)
    corpus = check_model(run, data_uri, args.split)
    run.metrics()  # the report needs them: if they are damaged, raises before the model runs
    run.check_writable()
    check_loadable(run)
    if not args.dry_run or os.environ.get("RAY_ADDRESS"):
        join_to_evaluate(recipe.scale)
    if args.dry_run:
        print(recipe.to_toml(), end="")
        return
    assess(run, recipe, corpus=corpus, split=args.split)


def assess(run: Run, recipe: Recipe, *, corpus: Corpus, split: str = "test") -> None:
    """Evaluates a run's model, writes the results to its folder, and prints them."""
    from mulan.launch.evaluate_run import evaluate_run

    evaluate_run(run, CONSOLE, corpus=corpus, split=split, use_gpu=recipe.scale.use_gpu)


if __name__ == "__main__":
    arguments.end(main)
