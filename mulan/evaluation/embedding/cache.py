"""The vectors of earlier evaluations: a file for each encoder, corpus, split and corruption, by their content."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.vector_file import (
    UnusableVectorFile,
    read_vector_file,
    write_vector_file,
)
from mulan.evaluation.embedding.windows import CORRUPTED_S, CorpusPart
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.storage import filesystem

FOLDER = "embeddings"
"""Name of the folder of the files, in the folder of a report."""
_VERSION = 1
"""Increased when the same key would stand for other vectors or another layout."""

_KEY_LENGTH = 16
_NAME_LENGTH = 60


def embed_cached(
    folder_uri: str,
    info: EncoderInfo,
    corpus: Corpus,
    parts: Sequence[CorpusPart],
    embed: Callable[[Sequence[CorpusPart]], Iterable[CorpusEmbeddings]],
    *,
    on_message: Callable[[str], None],
) -> Iterator[CorpusEmbeddings]:
    """Yields the vectors of parts of a corpus, in their order, of which only those without a file are computed.

    One call computes all that are missing, and each is written before the next one is needed. Vectors are not kept if
    bytes of the corpus could not be read, as the same command may find them the next time.

    Args:
        folder_uri: Folder of the files.
        info: The encoder, by whose digest, sample rate and window its vectors are found.
        corpus: A prepared corpus, by whose digest its vectors are found.
        parts: The parts.
        embed: Computes the vectors of some of them, in their order, such as a partial of
            :func:`mulan.evaluation.embedding.pipeline.embed_corpus`.
        on_message: Called with a line about each file of uncorrupted recordings that is used, and each that cannot be.

    Raises:
        EvaluationError: A split has no recordings, or vectors are not finite.
        StorageError, StoragePermanentError: The files cannot be read or written.
    """
    ids = {split: _ids(corpus, split) for split in {part.split for part in parts}}
    keys = [_computed_from(info, corpus, part) for part in parts]
    existing = filesystem.names_in(folder_uri)
    uris = [_existing(_uri(folder_uri, info, key), existing) for key in keys]
    # all files are checked first, so that one pass computes everything that is missing
    kept = [
        bool(uri) and _is_usable(uri, info, key, ids[part.split], on_message)
        for uri, key, part in zip(uris, keys, parts, strict=True)
    ]
    missing = [part for part, is_kept in zip(parts, kept, strict=True) if not is_kept]
    computed = iter(embed(missing) if missing else ())
    for uri, key, part, is_kept in zip(uris, keys, parts, kept, strict=True):
        if is_kept:
            found = _read(uri, info, key, ids[part.split])
            if part.corruption is None:
                on_message(f"{uri} has the vectors of {len(found.embedded.recordings)} recordings")
        else:
            found = next(computed)
            if found.is_lasting:
                write_vector_file(_uri(folder_uri, info, key), part.split, found, key)
        yield found


def _ids(corpus: Corpus, split: str) -> list[str]:
    return [each.recording_id for each in indexed_recordings(corpus, [split])]


def _is_usable(
    uri: str, info: EncoderInfo, computed_from: dict[str, Any], ids: Sequence[str], on_message: Callable[[str], None]
) -> bool:
    """Returns whether the vectors of an existing file can be used."""
    try:
        _read(uri, info, computed_from, ids)
    except UnusableVectorFile as error:
        on_message(f"{error}; it is computed again")
        return False
    return True


def _computed_from(info: EncoderInfo, corpus: Corpus, part: CorpusPart) -> dict[str, Any]:
    """Returns what is written to a file: its key, and everything that the key stands for, with names for people."""
    corruption, corrupted = part.corruption, None
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
        "split": part.split,
        "corruption": corrupted,
    }
    if part.split in corpus.at_most:
        key["at_most"] = corpus.at_most[part.split]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    windows = "the fewest windows that cover the recording, evenly spaced from its start to its end"
    return {"key": digest, **key, "encoder": asdict(info), "corpus": corpus.uri, "windows": windows}


def _uri(folder_uri: str, info: EncoderInfo, computed_from: dict[str, Any]) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", info.name)[:_NAME_LENGTH].strip("-") or info.kind
    return filesystem.join(folder_uri, f"{name}-{computed_from['split']}-{computed_from['key'][:_KEY_LENGTH]}.parquet")


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


def _read(uri: str, info: EncoderInfo, computed_from: dict[str, Any], ids: Sequence[str]) -> CorpusEmbeddings:
    """Reads the vectors of a part.

    Raises:
        UnusableVectorFile: The file is damaged, or is not what its name says.
    """
    file = read_vector_file(uri, is_unit=info.is_unit)
    embedded, skipped = file.result.embedded, file.result.skipped
    names = sorted([*(each.recording_id for each in embedded.recordings), *skipped])
    is_same = file.computed_from.get("key") == computed_from["key"] and embedded.dim == info.dim
    if not is_same or names != sorted(ids):
        raise UnusableVectorFile(f"{uri} was computed from something else than its name says")
    return file.result
