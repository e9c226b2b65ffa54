"""The plan of a preparation: what its sources have, in which chunks, and which of these are still to be written."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mulan.data.corpus.adoption import AdoptedRow
from mulan.data.corpus.index_rows import SCHEMA, index_tables
from mulan.data.corpus.row_spool import RowSpool
from mulan.preparation.chunks import Chunk, describe_chunk, in_chunks
from mulan.preparation.exclusion import Exclusions
from mulan.preparation.faults import Faults
from mulan.preparation.scan import EXCLUDED, NamedSource, Scan, check_left_out
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.webdataset import WebDataset
from mulan.preparation.texts.filtering import TextFilters
from mulan.preparation.workspace import Workspace


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and where to."""

    sources: Sequence[NamedSource]
    """Sources whose recordings are copied into shards."""
    adopted: Sequence[NamedSource]
    """Tars that are indexed where they are."""
    config: PreparationConfig
    """The settings."""
    exclusions: Exclusions
    """Recordings that are left out."""
    workspace: Workspace
    """The folder of the corpus."""
    models_sha256: str = ""
    """Digest of the models that judge recordings, of :func:`mulan.preparation.judges.judges_sha256`; empty if none."""

    @property
    def settings(self) -> dict[str, Any]:
        """The sources and settings, as JSON has them."""
        names = [named.name for named in [*self.sources, *self.adopted]]
        return {
            "sources": names,
            "exclude": list(self.exclusions.uris),
            "settings": self.config.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class PreparationPlan:
    """What a preparation has found in its sources."""

    scan: Scan
    chunks: Sequence[Chunk]
    """All chunks, in the order of the corpus."""
    missing: Sequence[Chunk]
    """The chunks whose shards do not exist yet."""
    rows: RowSpool
    """The rows of the index of adopted tars, on the local disk."""
    adopted_sha256: str = ""
    """Digest of the headers and texts of these rows' recordings; empty if there are none."""
    adoption_faults: Mapping[str, Faults] = field(default_factory=dict)
    """What is left out of adopted tars, by the name of the source."""

    @property
    def recordings(self) -> int:
        """Number of recordings that are copied."""
        return sum(chunk.recordings for chunk in self.chunks)


def plan(
    preparation: Preparation, *, write: bool, on_found: Callable[[int, str], None] = lambda found, source: None
) -> PreparationPlan:
    """Scans the sources.

    Args:
        preparation: What is prepared.
        write: Whether the chunks that are missing are written to the folder of the corpus, for
            :func:`mulan.preparation.prepare.make_corpus`.
        on_found: As of :class:`mulan.preparation.scan.Scan`.

    Raises:
        SourceError: A source cannot be used.
        StorageError, StoragePermanentError: A source or the folder of the corpus cannot be read or written.
    """
    workspace, config = preparation.workspace, preparation.config
    scan = Scan(preparation.sources, config, preparation.exclusions, TextFilters(config.text), on_found)
    finished, shards, settings = workspace.finished(), workspace.shards(), _shard_settings(preparation)
    chunks, missing = [], []
    for recordings in in_chunks(scan.recordings(), config.recordings_per_shard):
        chunk = describe_chunk(recordings, settings)
        chunks.append(chunk)
        if not workspace.is_complete(chunk, finished, shards):
            missing.append(chunk)
            if write:
                workspace.write_chunk(chunk, recordings)
    rows, digest, faults = _adopted_rows(preparation)
    return PreparationPlan(scan, chunks, missing, rows, digest, faults)


def _shard_settings(preparation: Preparation) -> str:
    """Returns the settings that decide the bytes of a shard, beside its recordings with their filtered texts."""
    config = preparation.config
    settings = {
        "clip": config.clip,
        "music": config.music,
        "filter": config.text.filter,
        "models": preparation.models_sha256,
    }
    return repr({name: str(value) for name, value in settings.items()})


def _adopted_rows(preparation: Preparation) -> tuple[RowSpool, str, dict[str, Faults]]:
    """Returns the rows of the index of all adopted tars, the digest of their recordings' headers and texts, and what is
    left out of each source, by its name."""
    rows, digest = RowSpool(SCHEMA), hashlib.sha256()
    faults: dict[str, Faults] = {}

    def rows_of(named: NamedSource) -> Iterator[dict[str, Any]]:
        for each in _adopted_from(named, preparation.exclusions, faults[named.name]):
            digest.update(each.digest)
            yield each.row

    for named in preparation.adopted:
        faults[named.name] = Faults()
        for table in index_tables(rows_of(named)):
            rows.add(table)
        check_left_out(named.name, faults[named.name], preparation.config.max_left_out)
    return rows, digest.hexdigest() if rows.num_rows else "", faults


def _adopted_from(named: NamedSource, exclusions: Exclusions, faults: Faults) -> Iterator[AdoptedRow]:
    assert isinstance(named.source, WebDataset)
    for row, digest in named.source.rows(faults):
        recording_id = named.prefix + row["recording_id"]
        if exclusions.excludes_id(row["recording_id"]) or exclusions.excludes_id(recording_id):
            faults.add(EXCLUDED, recording_id)
        else:
            faults.found += 1
            yield AdoptedRow(row | {"recording_id": recording_id}, digest)
