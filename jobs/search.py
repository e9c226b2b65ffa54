"""Search an index of music by words and by sound: python -m jobs.search --index URI "slow sad piano"

Prints the recordings that match best: those whose vectors have the largest mean similarity to the texts and sounds that
are given, minus the mean similarity to those that are not wanted.
"""

import argparse
import difflib
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from jobs import arguments
from jobs.arguments import CONSOLE
from mulan.config.errors import MulanError
from mulan.data.corpus.metadata import split_tag
from mulan.data.errors import one_line
from mulan.search.model_spec import query_model
from mulan.search.overview import Overview
from mulan.search.query import MAX_HITS, Filter, Query, combined

if TYPE_CHECKING:
    from mulan.search.index import Found, SearchIndex


class SearchRefused(MulanError, ValueError):
    """The arguments of a search do not go together."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.search", description=__doc__.split("\n")[0])
    _add_arguments(parser)
    args = parser.parse_args()
    args.texts, args.unwanted = ([text for text in texts if text.strip()] for texts in (args.texts, args.unwanted))
    _check_tags(args)
    ranks = bool(args.texts or args.unwanted or args.sounds or args.recordings)
    conditions = Filter(tuple(args.tags), args.min_duration_s, args.max_duration_s)
    if not ranks and conditions.is_empty:
        raise SearchRefused("nothing to search for: give a text, --like FILE, --like-id ID, --not TEXT, or --tags")
    index = _opened(args)
    query = Query(
        _vector(args, index),
        args.hits,
        conditions,
        without=args.recordings[0] if args.recordings else "",
        by_window=args.windows,
    )
    (found,) = index.search([query])
    if args.json:
        print(json.dumps({"hits": [_hit(each) for each in found]}, indent=2, ensure_ascii=False))
    elif found:
        CONSOLE.print(_table(found, ranks=ranks))
    else:
        CONSOLE.print(f"no recordings match the conditions{_unknown_tags(index, args.tags)}", soft_wrap=True)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="what the music is like; several are combined")
    parser.add_argument("--index", metavar="URI", required=True, help="folder that jobs.index has written")
    parser.add_argument(
        "--model", metavar="[KIND=]URI", help="folder of the model (default: where it was when it embedded)"
    )
    parser.add_argument(
        "--like", metavar="FILE", action="append", default=[], dest="sounds", help="an audio file that it sounds like"
    )
    parser.add_argument(
        "--like-id", metavar="ID", action="append", default=[], dest="recordings",
        help="a recording of the index that it sounds like, and that is not listed itself",
    )  # fmt: skip
    parser.add_argument(
        "--not", metavar="TEXT", action="append", default=[], dest="unwanted", help="what the music is not like"
    )
    parser.add_argument(
        "--tags", metavar="CATEGORY:TAG", nargs="+", action="extend", default=[],
        help="tags that it has, all of them; texts are written before them",
    )  # fmt: skip
    parser.add_argument("--min-duration-s", metavar="S", type=float, default=0.0, help="minimum duration in seconds")
    parser.add_argument(
        "--max-duration-s", metavar="S", type=float, default=math.inf, help="maximum duration in seconds"
    )
    parser.add_argument(
        "-k", "--hits", metavar="N", type=arguments.positive, default=10,
        help=f"number of recordings to list, at most {MAX_HITS} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--windows", action="store_true", help="rank recordings by the window that matches best, instead of as a whole"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _check_tags(args: argparse.Namespace) -> None:
    """Checks that no text has been taken for a tag, since it follows ``--tags``."""
    texts = ", ".join(repr(tag) for tag in args.tags if ":" not in tag)
    if texts:
        raise SearchRefused(f"--tags: {texts} is no CATEGORY:TAG; if it describes the music, write it before --tags")


def _opened(args: argparse.Namespace) -> "SearchIndex":
    from mulan.search.index import SearchIndex

    index = SearchIndex.open(arguments.checked("--index", args.index) or "")
    if args.windows and not index.manifest.windows:
        raise SearchRefused(f"--windows: the index {index.uri} has none; embed with jobs.embed --windows")
    return index


def _vector(args: argparse.Namespace, index: "SearchIndex") -> np.ndarray:
    """Returns the vector of what is searched for; the model is loaded only for texts and sounds from outside."""
    wanted = [index.recording(name).vector for name in args.recordings]
    unwanted: list[np.ndarray] = []
    if args.texts or args.unwanted or args.sounds:
        from mulan.search.model import QueryModel

        model = QueryModel.open(query_model(args.model, index.manifest, index.uri), index.manifest, index.uri)
        wanted += [*model.of_texts(args.texts), *map(model.of_sound, args.sounds)]
        unwanted = [*model.of_texts(args.unwanted)]
    return combined(wanted, unwanted, dim=index.manifest.model.dim)


def _unknown_tags(index: "SearchIndex", tags: Sequence[str]) -> str:
    """Returns which of the tags no recording has, with similar ones, as the end of a message."""
    known = [each.tag for each in Overview.read(index.uri).tags]  # the most frequent ones
    nothing = combined([], dim=index.manifest.model.dim)
    unknown = [tag for tag in tags if tag not in known and not index.search([Query(nothing, 1, Filter((tag,)))])[0]]
    by_text = {split_tag(tag)[1]: tag for tag in known}
    similar = {tag: difflib.get_close_matches(split_tag(tag)[1], by_text, n=1) for tag in unknown}
    named = [f"no recording has the tag {tag}: {by_text[found[0]]}?" for tag, found in similar.items() if found]
    return "".join(f"; {each}" for each in named)


def _hit(found: "Found") -> dict[str, Any]:
    row = found.row
    return {
        "recording_id": row.recording_id,
        "score": found.score,
        "start_s": found.start_s,
        "duration_s": row.duration_s,
        "title": row.title,
        "artist": row.artist,
        "tags": list(row.tags),
        "uri": row.uri,
    }


def _table(found: "Sequence[Found]", *, ranks: bool) -> Table:
    """Returns a table of recordings; if the query ranks none, they have neither a score nor a best moment."""
    table = Table(box=None, pad_edge=False)
    numbers = ("", "score", "best at") if ranks else ("",)
    for name in ("", "score", "recording", "best at", "tags") if ranks else ("", "recording", "tags"):
        table.add_column(name, justify="right" if name in numbers else "left")
    for rank, each in enumerate(found, 1):
        row = each.row
        named = " - ".join(one_line(part) for part in (row.artist, row.title) if part)
        recording = one_line(row.recording_id) + (f"  {named}" if named and row.title != row.recording_id else "")
        tags = ", ".join(one_line(split_tag(tag)[1]) for tag in row.tags)
        at = f"{int(each.start_s // 60)}:{int(each.start_s % 60):02d}"
        cells = (str(rank), f"{each.score:+.3f}", recording, at, tags) if ranks else (str(rank), recording, tags)
        table.add_row(*cells)
    return table


if __name__ == "__main__":
    arguments.end(main, repeated="searches again")
