"""Corpora that consist of an index alone."""

import tempfile
from typing import Any

import pyarrow as pa

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import write_index


def corpus_of_table(rows: pa.Table) -> Corpus:
    """Returns a corpus whose index has these rows, and whose folder no longer exists."""
    with tempfile.TemporaryDirectory() as folder:
        write_index(rows, folder)
        return Corpus.open(folder)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Returns a row of an index, whose fields may be changed."""
    return {
        "recording_id": f"r{number}",
        "uri": "shards/0.tar",
        "offset": 512 * number,
        "length": 512,
        "duration_s": 1.0,
        "split": "train",
        "sources": ["short_form"],
        "tags": [],
        "fields": "",
        "further_ranges": [],
    } | changes
