"""Train and compare a model's text ablations: python -m jobs.ablate --recipe m_resnet50 --data URI --task NAME=CORPUS

Trains each variant that is not trained yet, one after another, in a run of its own, STORAGE/NAME/VARIANT, and writes
one report of all with the tables 4b, 4c, 5 and 6 of MuLan (Huang et al. 2022). The same command again trains and embeds
only what is missing. What is wrong with one variant does not stop the others: the report names it, and the exit code
is 2.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.evaluate import MAX_TRAIN_RECORDINGS, assess
from jobs.joining import check_training, join
from jobs.train import train
from mulan.config.errors import MulanError
from mulan.data.corpus.index import Corpus
from mulan.recipes.ablations import VARIANTS, TextAblation, text_ablations
from mulan.recipes.registry import named_recipes
from mulan.runs.ablation import AblationRun, MissingVariants, existing_runs, runs_to_train
from mulan.runs.run import Run
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.evaluation.tasks.request import TaskRequest


class AblationRefused(MulanError, ValueError):
    """The arguments of an ablation do not go together."""


class AblationIncomplete(MulanError):
    """Variants could not be trained or evaluated."""

    def __init__(self, message: str, reasons: Mapping[str, str]) -> None:
        """``reasons``: why each variant is missing, by name."""
        super().__init__(f"{message}:" + "".join(f"\n  - {name}: {reason}" for name, reason in reasons.items()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.ablate", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, printed="what would be done")
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser, name="ablation")
    parser.add_argument(
        "--task",
        metavar="NAME[=CORPUS|FILE]",
        action="append",
        required=True,
        help="a task, and the folder of its corpus (default: --data) or the file that it needs; may be repeated; an "
        "unknown name lists all",
    )
    parser.add_argument("--out", metavar="URI", help="folder of the report (default: STORAGE/NAME/report)")
    parser.add_argument(
        "--use-gpu",
        action=argparse.BooleanOptionalAction,
        help="embed on GPUs, or not (default: as the runs are trained)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--only",
        metavar="VARIANT",
        choices=VARIANTS,
        action="append",
        help=f"train only this variant of {', '.join(VARIANTS)}; may be repeated; the report has all that are trained",
    )
    what.add_argument("--collect", action="store_true", help="train nothing, and report the variants that are trained")
    args = parser.parse_args()
    ablate(args, arguments.run_of(args), text_ablations(args.recipe))


def ablate(args: argparse.Namespace, ablation: Run, variants: Sequence[TextAblation]) -> None:
    """Trains and evaluates the variants.

    Raises:
        AblationIncomplete: Some of them are missing in the report.
        MulanError: An argument or a corpus cannot be used, or a run stopped that the same command resumes.
    """
    runs = _runs(args, ablation, variants)
    out_uri = filesystem.absolute(args.out) if args.out else filesystem.join(ablation.uri, "report")
    filesystem.check_writable(out_uri)
    missing = MissingVariants()
    if args.collect:
        runs, to_train = existing_runs(runs, missing), list[AblationRun]()
        requests = _requests(args.task, [args.data or "", *(one.recipe.data.uri for one in runs)])
    else:
        data_uri = runs[0].recipe.data.uri
        index_sha256 = Corpus.open(data_uri).index_sha256
        requests = _requests(args.task, [data_uri])
        only = args.only or VARIANTS
        runs, to_train = runs_to_train(runs, only, missing, index_sha256=index_sha256, check=check_training)
    if args.dry_run:
        _print_plan(variants, runs, to_train, requests, out_uri, missing.reasons)
    else:
        _train(to_train, missing)
        _report(args, ablation, variants, runs, requests, out_uri, missing)
    if missing.faults:
        raise AblationIncomplete(f"{len(missing.faults)} of {len(variants)} variants are missing", missing.faults)


def _runs(args: argparse.Namespace, ablation: Run, variants: Sequence[TextAblation]) -> list[AblationRun]:
    """Returns the runs of all variants, which need not exist.

    Raises:
        AblationRefused: A setting changes what the ablation varies.
        RecipeError, UnsupportedStorage: See :func:`jobs.arguments.recipe_to_train`.
    """
    runs = []
    for variant in variants:
        if args.collect:
            recipe = arguments.recipe_of(args, data_uri=args.data, name=variant.recipe)
        else:
            recipe = arguments.recipe_to_train(args, name=variant.recipe)
        if recipe.data.source_ratio != named_recipes()[variant.recipe].data.source_ratio:
            raise AblationRefused(
                "--set data.source_ratio: the variants differ by it; leave it as it is, and leave out variants whose "
                "texts the corpus lacks by --only VARIANT"
            )
        runs.append(AblationRun.of(ablation, variant.name, recipe))
    return runs


def _requests(tasks: Sequence[str], corpora: Sequence[str]) -> "list[TaskRequest]":
    """Returns the requested tasks, by default on the first corpus that is named.

    Raises:
        EvaluationError, CorpusError: See :func:`mulan.evaluation.tasks.request.task_requests`.
    """
    # imports torch
    from mulan.evaluation.tasks.request import check_corpora, task_requests

    corpus = next(filter(None, corpora), None)
    requests = task_requests(tasks, default_corpus=corpus, max_train_recordings=MAX_TRAIN_RECORDINGS)
    check_corpora(requests)
    return requests


def _print_plan(
    variants: Sequence[TextAblation],
    runs: Sequence[AblationRun],
    to_train: Sequence[AblationRun],
    requests: "Sequence[TaskRequest]",
    out_uri: str,
    missing: Mapping[str, str],
) -> None:
    """Prints what would be trained and evaluated."""
    by_name = {one.name: one for one in runs}
    for variant in variants:
        one = by_name.get(variant.name)
        what = f"missing: {missing[variant.name]}" if one is None else f"{one.state()}; {one.run.uri}"
        _say(f"{variant.name}  {variant.texts}: {what}")
    steps = sum(one.recipe.train.steps - one.steps_saved for one in to_train)
    _say(f"train  {steps} steps of {len(to_train)} variants")
    for request in requests:
        _say(f"evaluate  {request.task.name}: {request.task.title}, {request.uri}")
    _say(f"report  {out_uri}")
    if to_train and os.environ.get("RAY_ADDRESS"):
        for line in join(to_train[0].recipe, to_train[0].run):
            _say(f"train  {line}")


def _train(to_train: Sequence[AblationRun], missing: MissingVariants) -> None:
    """Trains and exports variants, one after another."""
    for number, one in enumerate(to_train, start=1):
        _say(f"ablate  {one.name}, {number} of {len(to_train)} to train: {one.state()}")
        with missing.noting(one):
            train(one.recipe, one.run)
        if one.name in missing.faults:
            _say(f"ablate  {one.name} is missing: {missing.faults[one.name]}")


def _report(
    args: argparse.Namespace,
    ablation: Run,
    variants: Sequence[TextAblation],
    runs: Sequence[AblationRun],
    requests: "Sequence[TaskRequest]",
    out_uri: str,
    missing: MissingVariants,
) -> None:
    """Evaluates the trained variants, and writes and prints the report.

    Raises:
        AblationIncomplete: There are none.
        MulanError: A corpus or the cluster cannot be used.
    """
    from mulan.evaluation.encoders.registry import open_encoder
    from mulan.evaluation.options import EvaluationOptions
    from mulan.evaluation.report.ablation_table import Ablation, AblationVariant
    from mulan.launch.evaluation import EvaluationRequest

    trained = [one for one in runs if one.name not in missing.faults]
    for one in trained:
        with missing.noting(one):
            open_encoder(f"exported={one.run.model_uri}", name=one.name, device="cpu")
    usable = {one.name: one for one in trained if one.name not in missing.faults}
    if not usable:
        raise AblationIncomplete("no variant can be evaluated", missing.reasons)
    steps = {one.run.exported_steps() for one in usable.values()}
    if len(steps) > 1:
        _say("ablate  the variants were trained for different numbers of steps, which the report states")
    rows = tuple(
        AblationVariant(
            each.name,
            each.texts,
            each.published,
            filesystem.join(ablation.uri, each.name),
            usable[each.name].run.exported_steps() if each.name in usable else None,
            missing.reasons.get(each.name, ""),
        )
        for each in variants
    )
    first = next(iter(usable.values()))
    options = EvaluationOptions(
        out_uri,
        max_skipped_share=first.recipe.data.max_skipped_share,
        use_gpu=first.recipe.scale.use_gpu if args.use_gpu is None else args.use_gpu,
    )
    models = {name: f"exported={one.run.model_uri}" for name, one in usable.items()}
    assess(EvaluationRequest(models, requests, options, run=first.run, ablation=Ablation(args.recipe, rows)))


def _say(line: str) -> None:
    CONSOLE.print(line, soft_wrap=True)


if __name__ == "__main__":
    arguments.end(main)
