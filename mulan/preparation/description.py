"""The description of a corpus: how many recordings and texts it has, from where, and what they are like.

Counts of recordings, tags and durations are of the whole corpus; what the audio and the texts are like is measured on
recordings that are evenly spaced in it, since it needs their bytes. It is the table of MuLan's text sources (Table 2),
for any corpus.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile

from mulan.config.sections import STORED_SOURCES
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import split_tag
from mulan.data.corpus.records import Record, read_fragments
from mulan.data.errors import BadRecording, CorpusError
from mulan.preparation.layout import RECORDINGS_NAME
from mulan.preparation.texts.languages import language_of
from mulan.storage import filesystem

SAMPLE = 1000
"""Number of recordings whose bytes are read."""
_READ_AT_ONCE = 32
_SHOWN_TAGS = 20
"""Number of tags of each category that are listed, the most frequent first."""
_NAMED = 20
"""Number of examples of texts of each source, and of unreadable recordings, that are listed."""
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_TOKEN = re.compile(r"\w+|[^\w\s]")
"""What counts as a token: a word or a punctuation mark, as BERT's tokenizer splits a text before it splits words."""


@dataclass
class _Texts:
    """The texts of one source in the sample."""

    recordings: int = 0
    texts: int = 0
    tokens: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CorpusExample:
    """A recording to read and to hear."""

    recording_id: str
    extension: str
    """Extension of the audio file without the dot, in lower case."""
    audio: bytes
    """Encoded audio."""
    texts: Mapping[str, Sequence[str]]
    """Texts by source."""
    tags: Sequence[str]
    """Tags as ``category:text``."""


@dataclass
class _Sample:
    """What is measured on the recordings whose bytes are read."""

    read: int = 0
    texts: dict[str, _Texts] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    examples: list[CorpusExample] = field(default_factory=list)

    def add(self, record: Record, *, is_example: bool) -> None:
        self.read += 1
        self.formats[_format(record)] += 1
        by_source: dict[str, list[str]] = {}
        for source in STORED_SOURCES:
            try:
                by_source[source] = record.texts(source)
            except BadRecording:  # there are none
                continue
            found = self.texts.setdefault(source, _Texts())
            found.recordings += 1
            found.texts += len(by_source[source])
            found.tokens += sum(len(_TOKEN.findall(text)) for text in by_source[source])
            if len(found.examples) < _NAMED:
                found.examples.append(by_source[source][0])
            if not source.endswith("_unfiltered"):
                self.languages.update(filter(None, map(language_of, by_source[source])))
        if is_example:
            tags = [tag for tag in record.metadata.get("tags", []) if isinstance(tag, str)]
            self.examples.append(CorpusExample(record.recording_id, record.extension, record.audio, by_source, tags))


def describe(corpus: Corpus, *, sample: int = SAMPLE, examples: int = 0) -> tuple[dict[str, Any], list[CorpusExample]]:
    """Describes a corpus.

    Args:
        corpus: A prepared or adopted corpus.
        sample: Number of recordings whose bytes are read.
        examples: Number of recordings that are returned to read and to hear.

    Returns:
        The description, as JSON has it, and the examples.

    Raises:
        CorpusError: The table of its preparation is damaged.
        StorageError, StoragePermanentError: The shards cannot be read.
    """
    rows = np.unique(np.linspace(0, corpus.recordings - 1, min(sample, corpus.recordings)).round().astype(int))
    chosen = set(rows[np.linspace(0, len(rows) - 1, min(examples, len(rows))).round().astype(int)].tolist())
    measured = _Sample()
    for row, outcome in _read(corpus, rows.tolist()):
        if isinstance(outcome, BadRecording):
            measured.unreadable.append(f"{corpus.recording_ids([row])[0]}: {outcome}")
        else:
            measured.add(outcome, is_example=row in chosen)
    table = corpus.table
    description = {
        "corpus": corpus.uri,
        "index_sha256": corpus.index_sha256,
        "recordings": corpus.recordings,
        "hours": pc.sum(table["duration_s"]).as_py() / 3600,
        "shards": len(table["uri"].unique()),
        "bytes": pc.sum(table["length"]).as_py(),
        "splits": _splits(corpus),
        "duration_s": _distribution(table["duration_s"].to_numpy()),
        "texts": _text_table(corpus, measured),
        "tags": _tags(corpus),
        "languages": dict(measured.languages.most_common()),
        "audio": dict(measured.formats.most_common()),
        "sample": {"recordings": len(rows), "unreadable": measured.unreadable[:_NAMED]},
    }
    return description | _of_preparation(corpus.uri), measured.examples


def _read(corpus: Corpus, rows: Sequence[int]) -> Iterator[tuple[int, Record | BadRecording]]:
    for first in range(0, len(rows), _READ_AT_ONCE):
        some = rows[first : first + _READ_AT_ONCE]
        names = corpus.recording_ids(some)
        for row, name, fragment in zip(some, names, read_fragments(corpus.locations(some)), strict=True):
            try:
                yield row, replace(fragment.record(), recording_id=name)
            except BadRecording as error:
                yield row, error


def _format(record: Record) -> str:
    try:
        with soundfile.SoundFile(io.BytesIO(record.audio)) as file:
            channels = "mono" if file.channels == 1 else f"{file.channels} channels"
            return f"{record.extension}, {file.samplerate} Hz, {channels}"
    except soundfile.LibsndfileError:  # formats that only FFmpeg reads
        return record.extension


def _splits(corpus: Corpus) -> dict[str, Any]:
    column = corpus.column("split")
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(names))
    seconds = np.bincount(codes, corpus.column("duration_s").to_numpy(), len(names))
    found = zip(names, counts.tolist(), seconds.tolist(), strict=True)
    return {name: {"recordings": count, "hours": total / 3600} for name, count, total in sorted(found) if count}


def _distribution(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    quantiles = np.quantile(values, _QUANTILES)
    named = {f"quantile_{share:g}": float(value) for share, value in zip(_QUANTILES, quantiles, strict=True)}
    return named | {"mean": float(values.mean())}


def _text_table(corpus: Corpus, measured: _Sample) -> dict[str, Any]:
    """Returns MuLan's Table 2: counts of recordings are exact, those of texts and tokens are extrapolated."""
    with_source: Counter[str] = Counter()
    sources = corpus.column("sources")
    for names, count in zip(sources.dictionary.to_pylist(), np.bincount(sources.indices), strict=False):
        with_source.update(dict.fromkeys(names, int(count)))
    scale = corpus.recordings / max(1, measured.read)
    return {
        source: {
            "recordings": with_source[source],
            "texts_per_recording": found.texts / max(1, measured.read),
            "tokens_per_text": found.tokens / max(1, found.texts),
            "tokens": round(found.tokens * scale),
            "examples": found.examples,
        }
        for source in STORED_SOURCES
        if (found := measured.texts.get(source)) is not None
    }


def _tags(corpus: Corpus) -> dict[str, Any]:
    by_category: dict[str, Counter[str]] = {}
    for item in pc.value_counts(corpus.column("tags").flatten()).to_pylist():
        category, text = split_tag(item["values"])
        by_category.setdefault(category, Counter())[text] += item["counts"]
    return {
        category: {
            "different": len(counts),
            "given": counts.total(),
            "most_frequent": dict(counts.most_common(_SHOWN_TAGS)),
        }
        for category, counts in sorted(by_category.items())
    }


def _of_preparation(corpus_uri: str) -> dict[str, Any]:
    """Returns what ``jobs.prepare`` has measured; nothing for other corpora."""
    try:
        content = filesystem.read_bytes(filesystem.join(corpus_uri, RECORDINGS_NAME))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        rows = pq.read_table(
            io.BytesIO(content), columns=["reason", "fault", "silent_share", "clipped_share", "artist"]
        )
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        remedy = "repeat the command that prepared the corpus, or remove the file"
        raise CorpusError(corpus_uri, [f"{RECORDINGS_NAME} is damaged: {error}; {remedy}"]) from error
    kept = rows.filter(pc.equal(rows["reason"], ""))
    left_out = Counter(rows.filter(pc.not_equal(rows["reason"], ""))["reason"].to_pylist())
    return {
        "left_out": dict(left_out.most_common()),
        "damaged": int(pc.sum(pc.not_equal(kept["fault"], "")).as_py() or 0),
        "silent_share": _distribution(kept["silent_share"].to_numpy()),
        "clipped_share": _distribution(kept["clipped_share"].to_numpy()),
        "artists": len(kept["artist"].unique()) - int("" in kept["artist"].unique().to_pylist()),
    }
