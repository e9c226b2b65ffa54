"""Prepare a corpus from recordings and texts: python -m jobs.prepare --source KIND=PATH --out URI

Decodes the audio of folders, tables and public data sets, filters their texts, and writes shards and an index; tars of
WebDataset are indexed where they are. The same command resumes an interrupted preparation, and adds what is new.
"""

import argparse
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.progress import FoundProgress, RecordingsProgress
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import Corpus
from mulan.launch.cluster import connect, started_ray
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.next_step import training_command
from mulan.preparation.plan import Preparation, plan
from mulan.preparation.report import plan_lines, result_lines, scan_lines, scan_report
from mulan.preparation.request import load_settings, open_sources, workspace_of
from mulan.preparation.sources.registry import KINDS
from mulan.recipes.registry import named_recipes
from mulan.storage import filesystem

RECIPE = "demo"
"""The recipe of the command that is printed at the end."""


def parsed_arguments() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="jobs.prepare", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--source",
        metavar="KIND=PATH",
        action="append",
        required=True,
        help=f"kind and path or URI of a source; may be repeated; kinds: {', '.join(KINDS)}",
    )
    parser.add_argument("--out", metavar="URI", required=True, help="folder of the corpus, local or s3://BUCKET/...")
    parser.add_argument(
        "--text",
        metavar="SOURCE=FIELD",
        action="append",
        default=[],
        help="field of tables and JSON objects with texts of a source, such as long_form=caption; may be repeated",
    )
    parser.add_argument(
        "--tags", metavar="FIELD", action="append", default=[], help="field with tags, such as genre; may be repeated"
    )
    parser.add_argument(
        "--exclude",
        metavar="FILE|URI",
        action="append",
        default=[],
        help="ids and hashes of recordings to leave out, or a corpus whose recordings are left out; may be repeated",
    )
    parser.add_argument(
        "--set",
        metavar="section.field=value",
        action="append",
        default=[],
        dest="settings",
        help="change a setting; may be repeated",
    )
    parser.add_argument("--replace", action="store_true", help="replace a corpus from other sources or settings")
    parser.add_argument("--dry-run", action="store_true", help="print what would be made and every fault, and stop")
    return parser.parse_args()


def main() -> None:
    args = parsed_arguments()
    config = load_settings(args.settings, texts=args.text, tags=args.tags)
    sources, adopted = open_sources(args.source, config)
    workspace = workspace_of(args.out)
    preparation = Preparation(sources, adopted, config, Exclusions.read(args.exclude), workspace)
    if not args.replace:
        workspace.check(preparation.settings)
    if config.music.tagger or config.text.filter:
        from mulan.preparation.judges import check_judges, judges_sha256

        print_lines(f"models  {line}" for line in check_judges(config))
        preparation = replace(preparation, models_sha256=judges_sha256(config))
    filesystem.check_writable(workspace.uri)
    if not args.dry_run:
        workspace.begin(preparation.settings)
    planned = plan(preparation, write=not args.dry_run, on_found=FoundProgress("source", CONSOLE))
    print_lines(scan_lines(scan_report(planned), detailed=args.dry_run))
    if args.dry_run:
        print_lines(plan_lines(planned, workspace.uri))
        return
    if planned.missing:
        connect(ScaleConfig())
    from mulan.preparation.prepare import make_corpus

    begun = time.monotonic()
    with RecordingsProgress("prepare", CONSOLE) if planned.chunks else nullcontext(lambda *_: None) as progress:
        # a cluster of this machine alone does not outlive it
        report = make_corpus(preparation, planned, on_progress=progress, restart_actors=not started_ray())
    print_lines(result_lines(report, workspace.uri, seconds=time.monotonic() - begun))
    if command := training_command(Corpus.open(workspace.uri), RECIPE, named_recipes()[RECIPE]):
        print_lines([f"next    {command}"])


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines of a report, whose names may be of any length."""
    for line in lines:
        CONSOLE.print(line, soft_wrap=True)


if __name__ == "__main__":
    arguments.end(main, repeated="makes what is missing")
