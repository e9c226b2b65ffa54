"""The vectors of earlier evaluations: a file for each encoder, corpus, split and corruption, by their content."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.collected import CorpusEmbeddings, joined
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.local import described
from mulan.evaluation.embedding.vector_file import (
    UnusableVectorFile,
    read_vector_file,
    write_vector_file,
)
from mulan.evaluation.embedding.windows import CORRUPTED_S, AudioCorruption
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.storage import filesystem

FOLDER = "embeddings"
"""Name of the folder of the files, in the folder of a report."""
_VERSION = 1
"""Increased when the same key would stand for other vectors or another layout."""
CorruptionT = TypeVar("CorruptionT", bound=AudioCorruption)

_KEY_LENGTH = 16
_NAME_LENGTH = 60


def embed_cached(
    folder_uri: str,
    info: EncoderInfo,
    corpus: Corpus,
    splits: Sequence[str],
    embed: Callable[[Sequence[str]], CorpusEmbeddings],
    *,
    max_skipped_share: float,
    on_message: Callable[[str], None],
) -> CorpusEmbeddings:
    """Returns the vectors of splits, of which only those without a file are computed, and then written.

    Vectors are not kept if bytes of the corpus could not be read, as the same command may find them the next time.

    Args:
        folder_uri: Folder of the files.
        info: The encoder, by whose digest, sample rate and window its vectors are found.
        corpus: A prepared corpus, by whose digest its vectors are found.
        splits: Any of ``train``, ``validation`` and ``test``; those without recordings are left out if others have
            some.
        embed: Computes the vectors of some of the splits, such as a partial of
            :func:`mulan.evaluation.embedding.pipeline.embed_corpus`.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].
        on_message: Called with a line about each file that is used, or that cannot be.

    Raises:
        EvaluationError: The splits have no recordings, or vectors are not finite.
        TooManySkippedRecordings: More recordings were skipped than allowed; names them.
        StorageError, StoragePermanentError: The files cannot be read or written.
    """
    split_of = {each.recording_id: each.split for each in indexed_recordings(corpus, splits)}
    found: dict[str, CorpusEmbeddings] = {}
    present = [split for split in dict.fromkeys(splits) if split in split_of.values()]
    computed_from = {split: _computed_from(info, corpus, split, None) for split in present}
    uris = {split: _uri(folder_uri, info, split, computed_from[split]) for split in present}
    existing = filesystem.names_in(folder_uri)
    for split in present:
        uri = _existing(uris[split], existing)
        stored = _stored(uri, info, computed_from[split], split_of, split, on_message) if uri else None
        if stored is not None:
            found[split] = stored
            on_message(f"{uri} has the vectors of {len(stored.embedded.recordings)} recordings")
    missing = [split for split in present if split not in found]
    if missing:
        result = embed(missing)
        for split in missing:
            skipped = {name: reason for name, reason in result.skipped.items() if split_of[name] == split}
            found[split] = result.of_split(split, skipped)
            if result.is_lasting:
                write_vector_file(uris[split], split, found[split], computed_from[split])
    together = joined([found[split] for split in present])
    together.check(described(corpus, present), max_skipped_share=max_skipped_share)
    return together


def embed_corruptions_cached(
    folder_uri: str,
    info: EncoderInfo,
    corpus: Corpus,
    split: str,
    corruptions: Sequence[CorruptionT],
    embed: Callable[[Sequence[CorruptionT]], Iterable[CorpusEmbeddings]],
    *,
    max_skipped_share: float,
    on_message: Callable[[str], None],
) -> Iterator[CorpusEmbeddings]:
    """Yields the vectors of a split under each of several corruptions, in their order, like :func:`embed_cached`.

    One call computes all that are missing, and each is written before the next one is needed.

    Args:
        folder_uri: Folder of the files.
        info: The encoder.
        corpus: A prepared corpus.
        split: The split.
        corruptions: The corruptions.
        embed: Computes the vectors under some of them, in their order.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].
        on_message: Called with a line about each file that cannot be used.

    Raises:
        EvaluationError: The split has no recordings, or vectors are not finite.
        TooManySkippedRecordings: More recordings were skipped than allowed; names them.
        StorageError, StoragePermanentError: The files cannot be read or written.
    """
    split_of = {each.recording_id: split for each in indexed_recordings(corpus, [split])}
    keys = [_computed_from(info, corpus, split, corruption) for corruption in corruptions]
    existing = filesystem.names_in(folder_uri)
    uris = [_existing(_uri(folder_uri, info, split, key), existing) for key in keys]
    # all files are checked first, so that one pass computes everything that is missing
    kept = [
        bool(uri) and _stored(uri, info, key, split_of, split, on_message) is not None
        for uri, key in zip(uris, keys, strict=True)
    ]
    missing = [corruption for corruption, is_kept in zip(corruptions, kept, strict=True) if not is_kept]
    computed = iter(embed(missing) if missing else ())
    for uri, key, is_kept in zip(uris, keys, kept, strict=True):
        if is_kept:
            found = _read(uri, info, key, split_of, split)
        else:
            found = next(computed)
            if found.is_lasting:
                write_vector_file(_uri(folder_uri, info, split, key), split, found, key)
        found.check(described(corpus, [split]), max_skipped_share=max_skipped_share)
        yield found


def _stored(
    uri: str,
    info: EncoderInfo,
    computed_from: dict[str, Any],
    split_of: dict[str, str],
    split: str,
    on_message: Callable[[str], None],
) -> CorpusEmbeddings | None:
    """Returns the vectors of an existing file; None if they cannot be used."""
    try:
        return _read(uri, info, computed_from, split_of, split)
    except UnusableVectorFile as error:
        on_message(f"{error}; it is computed again")
        return None


def _computed_from(info: EncoderInfo, corpus: Corpus, split: str, corruption: AudioCorruption | None) -> dict[str, Any]:
    """Returns what is written to a file: its key, and everything that the key stands for, with names for people."""
    corrupted = None
    if corruption is not None:
        corrupted = {
            "name": corruption.name,
            "strength": corruption.strength,
            "description": corruption.description,
            "first_s": CORRUPTED_S,
        }
    key = {
        "version": _VERSION,
        "encoder_sha256": info.sha256,
        "sample_rate_hz": info.sample_rate_hz,
        "window_samples": info.window_samples,
        "index_sha256": corpus.index_sha256,
        "split": split,
        "corruption": corrupted,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    windows = "the fewest windows that cover the recording, evenly spaced from its start to its end"
    return {"key": digest, **key, "encoder": asdict(info), "corpus": corpus.uri, "windows": windows}


def _uri(folder_uri: str, info: EncoderInfo, split: str, computed_from: dict[str, Any]) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", info.name)[:_NAME_LENGTH].strip("-") or info.kind
    return filesystem.join(folder_uri, f"{name}-{split}-{computed_from['key'][:_KEY_LENGTH]}.parquet")


def _existing(uri: str, names: Sequence[str]) -> str:
    """Returns the URI of an existing file with the same key, also of an encoder that had another name then, since names
    depend on which encoders are evaluated together; empty if there is none.

    Args:
        uri: The URI of :func:`_uri`.
        names: Names of the files in the folder.
    """
    folder, _, name = uri.rpartition("/")
    ending = "-".join(name.rsplit("-", 2)[1:])
    same = [other for other in sorted(names) if other.endswith(f"-{ending}")]
    return uri if name in same else filesystem.join(folder, same[0]) if same else ""


def _read(
    uri: str, info: EncoderInfo, computed_from: dict[str, Any], split_of: dict[str, str], split: str
) -> CorpusEmbeddings:
    """Reads the vectors of a split.

    Raises:
        UnusableVectorFile: The file is damaged, or is not what its name says.
    """
    file = read_vector_file(uri, is_unit=info.is_unit)
    embedded, skipped = file.result.embedded, file.result.skipped
    names = sorted([*(each.recording_id for each in embedded.recordings), *skipped])
    is_same = file.computed_from.get("key") == computed_from["key"] and embedded.dim == info.dim
    if not is_same or names != sorted(name for name, other in split_of.items() if other == split):
        raise UnusableVectorFile(f"{uri} was computed from something else than its name says")
    return file.result
