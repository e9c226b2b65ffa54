"""Embed a collection of audio: python -m jobs.embed --model URI --data URI --out URI

Writes the vector of every recording of a corpus, of a folder of audio files, or of a table of their paths or URIs, to
Parquet files. The same command resumes after an interruption, and embeds what is new.
"""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.joining import join_to_evaluate
from jobs.progress import FoundProgress, RecordingsProgress
from mulan.collection.part import DTYPES, RECORDINGS_PER_PART, Dtype
from mulan.config.errors import ErrorCollection, MulanError
from mulan.config.sections import ScaleConfig
from mulan.launch.cluster import started_ray
from mulan.storage import filesystem

if TYPE_CHECKING:
    from mulan.collection.plan import EmbeddingPlan, Settings
    from mulan.collection.recordings import AudioCollection

MAX_SKIPPED_SHARE = 0.01
_NAMED, _NAMED_IN_DRY_RUN = 5, 20


class EmbeddingRefused(MulanError, ValueError):
    """The arguments do not go together, or the model embeds no audio."""


def parsed_arguments() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="jobs.embed", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model",
        metavar="[KIND=]URI",
        required=True,
        help="folder of an exported model or of a ClapModel, or another encoder of jobs.evaluate that embeds audio",
    )
    parser.add_argument(
        "--data",
        metavar="URI",
        required=True,
        help="folder of a prepared corpus, folder of audio files, or table of their paths or URIs (csv, tsv, jsonl, "
        "parquet)",
    )
    parser.add_argument("--out", metavar="URI", required=True, help="folder of the vectors, local or s3://BUCKET/...")
    parser.add_argument("--windows", action="store_true", help="also write the vector and the start of each window")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="type of the numbers of vectors (default: %(default)s)",
    )
    _add_actors(parser)
    parser.add_argument(
        "--max-skipped-share",
        metavar="SHARE",
        type=arguments.share,
        default=MAX_SKIPPED_SHARE,
        help="maximum share of recordings that cannot be embedded, from 0 to 1; a single one is allowed unless it is 0 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--recordings-per-part",
        metavar="N",
        type=arguments.positive,
        default=RECORDINGS_PER_PART,
        help="average number of recordings in a file, about as many as an interruption loses (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        metavar="section.field=value",
        action="append",
        default=[],
        dest="settings",
        help="change a setting of the source as for jobs.prepare, such as table.audio_folder; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be embedded and every fault, and stop")
    return parser.parse_args()


def _add_actors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-gpu", action="store_true", help="embed on GPUs, one for each actor, and decode on CPUs")
    parser.add_argument(
        "--min-actors",
        metavar="N",
        type=arguments.positive,
        default=1,
        help="minimum number of actors that embed (default: %(default)s)",
    )
    parser.add_argument(
        "--max-actors",
        metavar="N",
        type=arguments.positive,
        help="maximum number of actors that embed (default: what the cluster offers)",
    )


def main() -> None:
    args = parsed_arguments()
    requested = request(
        args.model,
        args.data,
        args.out,
        windows=args.windows,
        dtype=args.dtype,
        sources=args.settings,
        recordings_per_part=args.recordings_per_part,
        max_skipped_share=args.max_skipped_share,
        use_gpu=args.use_gpu,
        min_actors=args.min_actors,
        max_actors=args.max_actors,
    )
    from mulan.collection.embedding import check_left_out  # imports torch, like the request

    info, plan = requested.settings.info, requested.plan
    window_s = info.window_samples / info.sample_rate_hz
    print_lines([f"model   {info.name}: vectors of {info.dim} numbers, windows of {window_s:g} s"])
    print_lines(_collection_lines(requested.collection, _NAMED_IN_DRY_RUN if args.dry_run else _NAMED))
    check_left_out(requested.collection, max_skipped_share=requested.max_skipped_share)
    missing = sum(len(part.recordings) for part in plan.missing)
    print_lines([f"parts   {len(plan.missing)} of {len(plan.parts)} are missing, with {missing} recordings"])
    if args.dry_run:
        print_lines([f"would embed {missing} recordings, and write them to {plan.folder_uri}"])
        return
    embed(requested)
    print_lines([f"next    python -m jobs.index --embeddings {shlex.quote(plan.folder_uri)} --out FOLDER"])


@dataclass(frozen=True)
class EmbeddingRequest:
    """What is embedded, and how."""

    encoder: str
    """``[KIND=]URI`` of the encoder, the same in every working folder."""
    collection: "AudioCollection"
    """The recordings."""
    settings: "Settings"
    """What decides the content of the files."""
    plan: "EmbeddingPlan"
    """The files, and which of them are missing."""
    max_skipped_share: float
    """Maximum share of recordings that cannot be embedded, in [0, 1]."""
    use_gpu: bool
    """Whether each actor embeds on a GPU."""
    min_actors: int
    """Minimum number of actors."""
    max_actors: int | None
    """Maximum number of actors; None for what the cluster offers."""


def request(
    model: str,
    data_uri: str,
    out_uri: str,
    *,
    windows: bool = False,
    dtype: Dtype = DTYPES[0],
    sources: Sequence[str] = (),
    recordings_per_part: int = RECORDINGS_PER_PART,
    max_skipped_share: float = MAX_SKIPPED_SHARE,
    use_gpu: bool = False,
    min_actors: int = 1,
    max_actors: int | None = None,
) -> EmbeddingRequest:
    """Checks what is to be embedded, before any cluster is joined. The arguments are those of the command.

    Raises:
        MulanError: The model, the collection or the folder of the vectors cannot be used.
    """
    errors = ErrorCollection()
    for flag, uri in (("--data", data_uri), ("--out", out_uri)):
        with errors.collecting():
            arguments.checked(flag, uri)
    with errors.collecting():
        _check_settings(sources)
    if max_actors is not None and max_actors < min_actors:
        with errors.collecting():
            raise EmbeddingRefused(f"--max-actors {max_actors} is less than --min-actors {min_actors}")
    errors.raise_any()
    out_uri = filesystem.absolute(out_uri)
    filesystem.check_writable(out_uri)
    # imports torch
    from mulan.collection.embeddings import check_same_collection
    from mulan.collection.plan import Settings, plan_parts
    from mulan.collection.recordings import open_collection
    from mulan.evaluation.encoders.registry import absolute_spec, open_encoder
    from mulan.preparation.request import load_settings

    config = load_settings(sources)
    with errors.collecting():
        collection = open_collection(data_uri, config, on_found=FoundProgress("source", CONSOLE))
        check_same_collection(out_uri, collection.name)
    with errors.collecting():
        info = open_encoder(model, device="cpu").info
        if not info.embeds_audio:
            raise EmbeddingRefused(f"--model {model}: it embeds no audio; name another model")
    errors.raise_any()
    settings = Settings(info, dtype, windows)
    plan = plan_parts(collection, settings, out_uri, recordings_per_part=recordings_per_part)
    return EmbeddingRequest(
        absolute_spec(model), collection, settings, plan, max_skipped_share, use_gpu, min_actors, max_actors
    )


def _check_settings(settings: Sequence[str]) -> None:
    if settings:
        from mulan.preparation.request import load_settings

        load_settings(settings)


def embed(requested: EmbeddingRequest) -> None:
    """Joins the cluster, or starts one on this machine, embeds what is missing, and prints what there is."""
    collection, settings, plan = requested.collection, requested.settings, requested.plan
    scale = ScaleConfig(workers=1, use_gpu=requested.use_gpu)
    if plan.missing:
        join_to_evaluate(scale)
    from mulan.collection.embedding import embed_missing, finish, result_lines
    from mulan.evaluation.embedding.pipeline import Actors
    from mulan.evaluation.encoders.registry import open_encoder
    from mulan.launch.heartbeat import report_waiting

    with (
        report_waiting("embed", scale, CONSOLE) if plan.missing else nullcontext(),
        RecordingsProgress("embed", CONSOLE) as progress,
    ):
        embed_missing(
            collection,
            plan,
            settings,
            partial(open_encoder, requested.encoder, name=settings.info.name),
            actors=Actors(
                use_gpu=requested.use_gpu,
                on_this_machine=started_ray(),
                min_actors=requested.min_actors,
                max_actors=requested.max_actors,
            ),
            on_progress=progress,
        )
    manifest = finish(collection, plan, settings, requested.encoder, max_skipped_share=requested.max_skipped_share)
    print_lines(result_lines(manifest, plan))


def _collection_lines(collection: "AudioCollection", shown: int) -> Iterable[str]:
    from mulan.collection.recordings import shown_faults

    yield f"source  {collection.name}: {len(collection.recordings)} recordings"
    yield from shown_faults(collection.faults, shown)


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines of a report, whose names may be of any length."""
    for line in lines:
        CONSOLE.print(line, soft_wrap=True)


if __name__ == "__main__":
    arguments.end(main, repeated="embeds only what is missing")
