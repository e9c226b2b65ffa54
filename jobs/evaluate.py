"""Evaluate models: python -m jobs.evaluate --model URI --task NAME=CORPUS --out URI

Writes report.json, report.html and the embeddings. With --storage URI --name RUN, the model of a run is the first one,
its corpus is the default of tasks, and its folder that of the report.
"""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.joining import join_to_evaluate
from jobs.progress import RecordingsProgress
from mulan.config.errors import ErrorCollection, MulanError
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.metadata import SPLITS
from mulan.launch.checks import check_exported
from mulan.runs.run import Run
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.evaluation.tasks.request import TaskRequest
    from mulan.launch.evaluation import EvaluationRequest

DEFAULT_TASKS = ("tags", "captions", "playlists", "triplets")
"""What is evaluated if no task is named."""
MAX_TRAIN_RECORDINGS = 10_000
"""Number of recordings that tasks of any corpus train probes on, unless another one is given: of a corpus for training,
all recordings would take days to embed."""


class EvaluationRefused(MulanError, ValueError):
    """The arguments of an evaluation do not go together."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.evaluate", description=__doc__.split("\n")[0])
    _add_arguments(parser)
    args = parser.parse_args()
    request = _requested(args)
    if not args.dry_run:
        assess(request)
        return
    for name, uri in request.models.items():
        print(f"model {name}: {uri}")
    for name, uri in request.baselines.items():
        print(f"baseline {name}: {uri}")
    for task in request.tasks:
        print(f"task {task.task.name}: {task.task.title}, {task.uri}")
        if task.note:
            print(f"  {task.note}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
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
        metavar="NAME[=CORPUS|FILE]",
        action="append",
        default=[],
        help="a task, and the folder of its corpus (default: --data) or the file that it needs; may be repeated; an "
        f"unknown name lists all (default: {', '.join(DEFAULT_TASKS)})",
    )
    parser.add_argument("--out", metavar="URI", help="folder of the report (default: that of the run)")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also evaluate probes on the first model of mulan, or ClapModel, with random weights instead of its own, "
        "and on log-mel statistics",
    )
    parser.add_argument(
        "--finetune",
        action="store_true",
        help="also train the audio network of each model of mulan end to end for the sets of probes, and that of the "
        "first one from scratch, too",
    )
    parser.add_argument(
        "--use-gpu",
        action=argparse.BooleanOptionalAction,
        help="embed and train on GPUs, or not (default: as the run was trained, or not)",
    )
    arguments.add_run(parser, name="", of_name="name of a run, whose model is the first one")
    _add_corpus_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print what would be evaluated, and stop"
    )


def _add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_data(parser, default="the training corpus of the run")
    parser.add_argument(
        "--split", choices=SPLITS, default="test", help="split that tasks of any corpus score (default: %(default)s)"
    )
    parser.add_argument(
        "--max-train-recordings",
        metavar="N",
        type=_count,
        default=MAX_TRAIN_RECORDINGS,
        help="maximum number of recordings of the split train that tasks of any corpus train probes on (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--template",
        metavar="[CATEGORY=]TEMPLATE",
        action="append",
        default=[],
        help="template of the prompts of tags, such as '{} music', for all tags or those of a category; may be "
        "repeated: the mean of the prompts' vectors is taken (default: '{}', the tag itself)",
    )
    parser.add_argument(
        "--max-skipped-share",
        metavar="SHARE",
        type=arguments.share,
        help="maximum share of skipped recordings, from 0 to 1 (default: that of the run, or 0.01)",
    )


def _count(text: str) -> int:
    value = int(text)  # argparse reports a ValueError
    if value < 2:
        raise argparse.ArgumentTypeError(f"{value} is not at least 2")
    return value


def _requested(args: argparse.Namespace) -> "EvaluationRequest":
    """Returns what the arguments ask for, after all checks that need no cluster."""
    run = arguments.run_of(args) if args.name else None
    if run is None and not (args.model and args.out and (args.task or args.data)):
        raise EvaluationRefused(
            "nothing to evaluate: give --model, --task NAME=CORPUS and --out, or --storage and --name of a run"
        )
    if run is not None:
        check_exported(run)
    return request(
        args.model,
        args.task,
        data_uri=arguments.checked("--data", args.data),
        split=args.split,
        max_train_recordings=args.max_train_recordings,
        templates=args.template,
        out_uri=arguments.checked("--out", args.out),
        run=run,
        baselines=args.baselines,
        finetune=args.finetune,
        use_gpu=args.use_gpu,
        max_skipped_share=args.max_skipped_share,
    )


def request(
    models: Sequence[str] = (),
    tasks: Sequence[str] = (),
    *,
    data_uri: str | None = None,
    split: str = "test",
    max_train_recordings: int = MAX_TRAIN_RECORDINGS,
    templates: Sequence[str] = (),
    out_uri: str | None = None,
    run: Run | None = None,
    baselines: bool = False,
    finetune: bool = False,
    use_gpu: bool | None = None,
    max_skipped_share: float | None = None,
) -> "EvaluationRequest":
    """Checks what is to be evaluated, before any cluster is joined. The arguments are those of the command.

    Raises:
        MulanError: A model, a task, a corpus or the folder of the report cannot be used.
    """
    recipe = None if run is None else run.recipe()
    out_uri = filesystem.absolute(out_uri or (run.uri if run else ""))
    filesystem.check_writable(out_uri)
    # imports torch
    from mulan.evaluation.encoders.registry import absolute_spec, baseline_specs, encoder_names
    from mulan.evaluation.finetuning.training import EndToEndSettings
    from mulan.evaluation.options import EvaluationOptions
    from mulan.launch.evaluation import EvaluationRequest, check_models

    specs = [*([f"exported={run.model_uri}"] if run else []), *models]
    corpus = data_uri or (recipe.data.uri if recipe else None)
    if max_skipped_share is None:
        max_skipped_share = recipe.data.max_skipped_share if recipe else 0.01
    errors = ErrorCollection()
    requests: list[TaskRequest] = []
    named: dict[str, str] = {}
    with errors.collecting():
        requests = _task_requests(tasks or DEFAULT_TASKS, corpus, split, max_train_recordings, templates)
        _check_probes(requests, baselines=baselines, finetune=finetune)
    with errors.collecting():
        check_models(specs)
    with errors.collecting():
        named = dict(zip(encoder_names(specs), map(absolute_spec, specs), strict=True))
    if run is not None:
        with errors.collecting():
            run.metrics()
    errors.raise_any()
    further = baseline_specs(list(named.values())) if baselines else {}
    check_models(further.values())
    return EvaluationRequest(
        named,
        requests,
        EvaluationOptions(
            out_uri,
            max_skipped_share=max_skipped_share,
            use_gpu=recipe is not None and recipe.scale.use_gpu if use_gpu is None else use_gpu,
            finetune=EndToEndSettings() if finetune else None,
        ),
        baselines=further,
        run=run,
    )


def _task_requests(
    tasks: Sequence[str], corpus: str | None, split: str, max_train_recordings: int, templates: Sequence[str]
) -> "list[TaskRequest]":
    from mulan.evaluation.protocols.templates import PromptTemplates
    from mulan.evaluation.tasks.request import check_corpora, task_requests

    errors, prompts = ErrorCollection(), PromptTemplates()
    requests: list[TaskRequest] = []
    with errors.collecting():
        prompts = PromptTemplates.parsed(templates)
    with errors.collecting():
        requests = task_requests(
            tasks, default_corpus=corpus, split=split, templates=prompts, max_train_recordings=max_train_recordings
        )
        check_corpora(requests)
    errors.raise_any()
    return requests


def _check_probes(requests: "Sequence[TaskRequest]", *, baselines: bool, finetune: bool) -> None:
    from mulan.evaluation.protocols.probe_protocol import ProbeProtocol

    protocols = [protocol for each in requests for protocol in each.task.protocols]
    if baselines and all(protocol.needs_text for protocol in protocols):
        raise EvaluationRefused("--baselines: none of the tasks has a probe; leave it out, or add --task tags")
    if finetune and not any(isinstance(protocol, ProbeProtocol) for protocol in protocols):
        raise EvaluationRefused("--finetune: none of the tasks has a probe; leave it out, or add --task tags")


def assess(requested: "EvaluationRequest") -> None:
    """Joins the cluster, or starts one on this machine, evaluates, and writes and prints the report."""
    from mulan.launch.evaluation import evaluate_and_report

    if any(task.task.splits for task in requested.tasks):  # otherwise no recording is embedded
        join_to_evaluate(ScaleConfig(workers=1, use_gpu=requested.options.use_gpu))
    evaluate_and_report(requested, CONSOLE, _ConsoleObserver())


class _ConsoleObserver:
    """Shows messages, and the progress of embedding on the console."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def message(self, line: str) -> None:
        if line not in self._shown:  # tasks of one corpus read the same vectors
            CONSOLE.print(line, soft_wrap=True)
        if line.startswith("embed"):
            self._shown.add(line)

    def progress(self, label: str) -> AbstractContextManager[RecordingsProgress]:
        return RecordingsProgress(f"embed  {label}", CONSOLE)


if __name__ == "__main__":
    arguments.end(main, repeated="embeds only what is missing")
