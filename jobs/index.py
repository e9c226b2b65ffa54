"""Make or change an index of a collection: python -m jobs.index --embeddings URI --out URI

Adds the recordings that jobs.embed has embedded to the index in a folder, which is made if there is none; those that
have changed are replaced. With --delete, recordings are deleted instead.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.progress import RecordingsProgress
from mulan.collection.embeddings import MANIFEST_NAME as EMBEDDINGS
from mulan.collection.embeddings import CollectionEmbeddings
from mulan.config.errors import MulanError
from mulan.search.building import APPROXIMATE_ABOVE, Change, add_to_index, delete_from_index
from mulan.storage import filesystem


class IndexRefused(MulanError, ValueError):
    """The arguments do not go together."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.index", description=__doc__.split("\n")[0])
    parser.add_argument("--out", metavar="URI", required=True, help="folder of the index")
    parser.add_argument("--embeddings", metavar="URI", help="folder that jobs.embed has written")
    parser.add_argument(
        "--delete",
        metavar="ID|@FILE",
        action="append",
        default=[],
        help="delete a recording by its id, or those whose ids are the lines of a file; may be repeated",
    )
    parser.add_argument(
        "--approximate-above",
        metavar="N",
        type=_number,
        help="number of recordings above which searches are approximate (default: that of the index, or "
        f"{APPROXIMATE_ABOVE} for a new one)",
    )
    args = parser.parse_args()
    uri = filesystem.absolute(arguments.checked("--out", args.out) or "")
    if bool(args.embeddings) == bool(args.delete):
        raise IndexRefused("give either --embeddings, whose recordings are added, or --delete")
    if args.delete and args.approximate_above is not None:
        raise IndexRefused("--approximate-above goes with --embeddings, also of recordings that are there already")
    if args.delete:
        change = delete_from_index(uri, _ids(args.delete))
    else:
        embeddings = CollectionEmbeddings.open(arguments.checked("--embeddings", args.embeddings) or "")
        if filesystem.exists(filesystem.join(uri, EMBEDDINGS)):
            raise IndexRefused(f"--out {args.out} is a folder of embeddings; give another one for the index")
        change = add(uri, embeddings, approximate_above=args.approximate_above)
    CONSOLE.print(described(change), soft_wrap=True)
    named = shlex.quote(args.out)
    CONSOLE.print(f"search it: python -m jobs.search --index {named} 'slow sad piano'", soft_wrap=True)
    CONSOLE.print(f"or in a browser: python -m jobs.serve --index {named}", soft_wrap=True)


def add(uri: str, embeddings: CollectionEmbeddings, *, approximate_above: int | None = None) -> Change:
    """Adds the recordings of embeddings to an index, and shows the progress. The arguments are those of the command.

    Raises:
        MulanError: The embeddings or the index cannot be used.
    """
    filesystem.check_writable(uri)
    with RecordingsProgress("index", CONSOLE) as progress:
        return add_to_index(uri, embeddings, approximate_above=approximate_above, on_progress=progress)


def _number(text: str) -> int:
    value = int(text)  # argparse reports a ValueError
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def _ids(given: Sequence[str]) -> list[str]:
    ids: list[str] = []
    for each in given:
        if not each.startswith("@"):
            ids.append(each)
            continue
        try:
            # not splitlines, which also splits at characters that ids may contain
            ids += filter(None, Path(each[1:]).read_text(encoding="utf-8").split("\n"))
        except (OSError, ValueError) as error:
            raise IndexRefused(f"--delete {each}: the file cannot be read: {error}") from error
    if not ids:
        raise IndexRefused("--delete: the files name no recordings")
    return ids


def described(change: Change) -> str:
    """Returns the line that tells what a change has done."""
    counts = {"added": change.added, "unchanged": change.unchanged, "deleted": change.deleted}
    done = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to add"
    kind = "approximately" if change.is_approximate else "exactly"
    return f"index  {done}; {change.recordings} recordings, searched {kind}"


if __name__ == "__main__":
    arguments.end(main, repeated="adds what is missing")
