"""Describe a corpus: python -m jobs.describe URI [--json] [--page FILE.html]

Prints how many recordings, texts and tags it has, from which sources, and what they are like.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from jobs import arguments
from jobs.arguments import CONSOLE
from mulan.data.corpus.index import Corpus
from mulan.data.errors import one_line
from mulan.preparation.description import SAMPLE, describe
from mulan.preparation.description_page import readable_size, render_page
from mulan.storage import filesystem

_EXAMPLES = 8
"""Number of recordings to hear in the page."""
_TEXTS_SHOWN = 3
"""Number of texts that are shown for each source."""
_CHARACTERS_SHOWN = 200
"""Number of characters of a text or tag that are shown."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.describe", description=__doc__.split("\n")[0])
    parser.add_argument("corpus", metavar="URI", help="folder of a corpus")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--page", metavar="FILE.html", help="write a page, with recordings to hear, to a file or URI")
    parser.add_argument(
        "--sample", type=arguments.positive, default=SAMPLE, help="recordings that are read (default: %(default)s)"
    )
    args = parser.parse_args()
    corpus = Corpus.open(args.corpus)
    description, examples = describe(corpus, sample=args.sample, examples=_EXAMPLES if args.page else 0)
    if args.json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        _print(description)
    if args.page:
        filesystem.write_atomically(filesystem.absolute(args.page), render_page(description, examples).encode())
        if not args.json:
            CONSOLE.print(f"page: {args.page}", soft_wrap=True)


def _print(description: Mapping[str, Any]) -> None:
    for line in _lines(description):
        CONSOLE.print(line, soft_wrap=True)
    if description["texts"]:
        CONSOLE.print(_texts(description["texts"]))
    for source, found in description["texts"].items():
        examples = " | ".join(one_line(text, _CHARACTERS_SHOWN) for text in found["examples"][:_TEXTS_SHOWN])
        CONSOLE.print(f"{source}: {examples}", soft_wrap=True)
    for category, found in description["tags"].items():
        tags = ", ".join(f"{one_line(tag, _CHARACTERS_SHOWN)} {count}" for tag, count in found["most_frequent"].items())
        CONSOLE.print(f"tags {one_line(category)} ({found['different']}): {tags}", soft_wrap=True)


def _lines(description: Mapping[str, Any]) -> Iterator[str]:
    stored = f"{readable_size(description['bytes'])} in {description['shards']} shards"
    yield f"corpus {description['corpus']}"
    yield f"{description['recordings']} recordings, {description['hours']:.2f} hours, {stored}"
    for split, found in description["splits"].items():
        yield f"  {split}: {found['recordings']} recordings, {found['hours']:.2f} hours"
    durations = description["duration_s"]
    if durations:
        shortest, median, longest = (durations[f"quantile_{share}"] for share in ("0", "0.5", "1"))
        yield f"durations: {shortest:.1f} to {longest:.1f} s, median {median:.1f} s"
    for label, name in (("audio", "audio"), ("languages", "languages"), ("left out", "left_out")):
        if description.get(name):
            yield f"{label}: " + "; ".join(f"{key} {count}" for key, count in description[name].items())
    for name in description["sample"]["unreadable"]:
        yield f"unreadable: {name}"


def _texts(texts: Mapping[str, Any]) -> Table:
    table = Table("texts", "recordings", "texts per recording", "tokens per text", "tokens")
    for column in table.columns[1:]:
        column.justify = "right"
    for source, found in texts.items():
        table.add_row(
            source,
            f"{found['recordings']}",
            f"{found['texts_per_recording']:.2f}",
            f"{found['tokens_per_text']:.1f}",
            f"{found['tokens']}",
        )
    return table


if __name__ == "__main__":
    arguments.end(main)
