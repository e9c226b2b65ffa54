"""The recordings of tables: rows with the same audio are one recording with several texts."""

import hashlib
import os
import posixpath
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from mulan.config.base import Section
from mulan.config.paths import is_mistyped, scheme_of
from mulan.config.sections import StoredSource
from mulan.data.corpus.fields import RecordingFields, flattened, map_fields
from mulan.data.errors import BadRecording
from mulan.preparation.audio_files import AudioFiles, is_audio
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.sources.table_rows import Report, TableFile, TableRow, no_audio_column, table_rows
from mulan.storage import filesystem
from mulan.storage.errors import location_fault


class RowsConfig(Section):
    """The settings of sources whose recordings are rows of tables."""

    audio: str = ""
    """Name of the column with the audio or its path; empty for the usual names, such as ``path`` and ``audio``."""
    split: Literal["", "train", "validation", "test"] = ""
    """Split of recordings for which neither their row nor their file names one."""
    provenance: str = ""
    """Origin of recordings whose row states none."""
    licence: str = ""
    """Licence of recordings whose row states none."""
    fields: FieldsConfig = FieldsConfig()
    """Names of the columns with texts and tags."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A row, or the rows of one recording."""

    file: TableFile
    place: str
    audio: str
    """Path of the audio, relative to the folder of the source or absolute; for audio in the table, its stated name."""
    column: str
    row: int | None
    fields: RecordingFields

    @property
    def key(self) -> str:
        """What is the same for all rows of a recording, and for no others."""
        if self.row is not None:
            return f"{self.file.name}\0{self.row}"
        return f"{self.audio}\0{self.fields.start_s}\0{self.fields.end_s}"

    def ids(self) -> tuple[str, str]:
        """Returns the preferred id of the recording and one that is unique; both are the one that the row states."""
        if self.fields.recording_id:
            return self.fields.recording_id, self.fields.recording_id
        name = self.audio.partition("://")[2] or self.audio
        part = _part(self.fields)
        short = posixpath.splitext(name.lstrip("/"))[0] + part
        if self.row is not None:
            unique = f"{posixpath.splitext(self.file.name)[0]}-{self.row:06d}"
            return short or unique, unique
        return short, name.lstrip("/") + part


@dataclass(frozen=True)
class _Survey:
    """What must be known of all rows before the first recording is complete, by digests of keys and ids."""

    rows: Mapping[int, int]
    """Number of rows of each recording with several."""
    ambiguous: frozenset[int]
    """Ids that several recordings have."""


@dataclass(frozen=True)
class TableRecordings:
    """The recordings of the rows of one or more tables.

    The tables are read twice, so that the rows of a recording need not be adjacent. Of recordings with one row, only
    two digests are held in memory.
    """

    source: str
    """The source, as ``KIND=PATH``, for messages."""
    root: str
    """Absolute path or URI of the folder that relative paths are relative to, and stay in."""
    files: Sequence[TableFile]
    """The tables, in the order in which they are read."""
    config: RowsConfig
    trusted: bool
    """Whether rows may name absolute paths and URIs: those that the user has written may, downloaded ones may not."""

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings in the order of their last rows.

        Raises:
            SourceError: A table is missing or damaged, has no rows, or lacks a column that the settings name.
            StorageError, StoragePermanentError: A table or the folder of the audio cannot be read.
        """
        survey = self._survey()
        waiting: dict[int, tuple[int, _Entry | BadRecording]] = {}
        for entry in self._entries(faults.add):
            key = _digest(entry.key)
            count = survey.rows.get(key, 1)
            whole: _Entry | BadRecording = entry
            if count > 1:
                if key in waiting:
                    count, before = waiting.pop(key)
                    whole = _joined(before, entry)
                if count > 1:
                    waiting[key] = count - 1, whole
                    continue
            try:
                if isinstance(whole, BadRecording):
                    raise whole
                found = self._found(whole, survey, faults)
            except BadRecording as error:
                faults.add(error.reason, f"{entry.place}: {error.detail}")
            else:
                if found is not None:
                    yield found

    def _survey(self) -> _Survey:
        names: set[str] = set()
        damaged = Faults()
        keys, ids = array("Q"), array("Q")
        has_audio = False

        def ignore(reason: str, detail: str) -> None:
            """Leaves faults to the second reading."""

        for row in self._rows(damaged.add):
            has_audio = has_audio or bool(row.column)
            names.update(flattened(row.values))
            entry = self._entry(row, ignore)
            if entry is not None:
                keys.append(_digest(entry.key))
                ids.extend(_digest(name) for name in entry.ids())
        if not has_audio:
            raise no_audio_column(self.source, self.files[0].uri, sorted(names)) if names else self._no_rows(damaged)
        missing = self.config.fields.fields().missing(names)
        if missing:
            fault = f"no row has a column {', '.join(missing)}; the columns are {', '.join(sorted(names)[:50])}"
            raise SourceError(self.source, [f"{fault}; set fields.texts and fields.tags to names of columns"])
        return _surveyed(np.array(keys, np.uint64), np.array(ids, np.uint64).reshape(-1, 2))

    def _no_rows(self, damaged: Faults) -> SourceError:
        faults = [f"{file.uri} has no rows that can be read; name another table" for file in self.files]
        return SourceError(self.source, [*faults, *(fault for named in damaged.named.values() for fault in named[:3])])

    def _rows(self, report: Report) -> Iterator[TableRow]:
        for file in self.files:
            yield from table_rows(self.source, file, self.config.audio, report)

    def _entries(self, report: Report) -> Iterator[_Entry]:
        for row in self._rows(report):
            entry = self._entry(row, report)
            if entry is not None:
                yield entry

    def _entry(self, row: TableRow, report: Report) -> _Entry | None:
        """Returns what a row says; None, after a report, if it cannot be used."""
        try:
            stated = row.audio.get("path") if isinstance(row.audio, Mapping) else row.audio
            if row.row is None:
                audio = self._resolved(row.file, stated)
            else:
                audio = posixpath.basename(str(stated or "").replace("\\", "/"))
            fields = map_fields(row.values, self.config.fields.fields())
            if fields.end_s is not None and fields.end_s <= (fields.start_s or 0):
                raise BadRecording("empty part", f"end_s is {fields.end_s}, and start_s is {fields.start_s or 0}")
        except BadRecording as error:
            report(error.reason, f"{row.place}: {error.detail}")
            return None
        return _Entry(file=row.file, place=row.place, audio=audio, column=row.column, row=row.row, fields=fields)

    def _resolved(self, file: TableFile, stated: object) -> str:
        """Returns the path of an audio file relative to the root, or absolute if it is outside the root."""
        path = stated.strip() if isinstance(stated, str) else ""
        if not path:
            raise BadRecording("no audio path", f"the path of the audio is {stated!r:.80}")
        is_absolute = bool(scheme_of(path)) or path.startswith("/") or is_mistyped(path)
        # a relative path can only be invalid by its characters
        fault = location_fault(path) if is_absolute or not path.isprintable() else None
        if fault:
            raise BadRecording("unusable path", f"{path}: {fault}")
        if is_absolute:
            if not self.trusted:
                raise BadRecording(
                    "path outside the folder", f"{path}: paths must be relative to the folder of the table"
                )
            uri = filesystem.absolute(path)
            inside = self.root.rstrip("/") + "/"
            return uri.removeprefix(inside)
        relative = posixpath.normpath(posixpath.join(file.prefix, path))
        if relative == ".." or relative.startswith("../"):
            remedy = "write an absolute path" if self.trusted else "paths must stay in the folder of the source"
            raise BadRecording("path outside the folder", f"{path}: {remedy}")
        return relative

    def _found(self, entry: _Entry, survey: _Survey, faults: Faults) -> FoundRecording | None:
        short, unique = entry.ids()
        name = unique if _digest(short) in survey.ambiguous else short
        if entry.fields.recording_id and _digest(name) in survey.ambiguous:
            raise BadRecording("duplicate id", f"other rows with the id {name} have other audio")
        audio = self._located(entry)
        if audio is None:
            faults.missing(name, filesystem.resolve(self.root, entry.audio))
            return None
        fields, config = entry.fields, self.config
        return FoundRecording(
            recording_id=name,
            audio=audio,
            split=fields.split or entry.file.split or config.split,
            texts=fields.texts,
            tags=fields.tags,
            title=fields.title,
            artist=fields.artist,
            channel=fields.channel,
            start_s=fields.start_s,
            end_s=fields.end_s,
            provenance=fields.provenance or config.provenance,
            licence=fields.licence or config.licence,
        )

    def _located(self, entry: _Entry) -> AudioLocation | None:
        if entry.row is not None:
            return AudioLocation(uri=entry.file.uri, row=entry.row, column=entry.column, version=entry.file.version)
        uri = filesystem.resolve(self.root, entry.audio)
        found = None if uri == entry.audio else self._audio_files.find(entry.audio)
        if found is None and (uri == entry.audio or not is_audio(uri)):  # a listing shows only names of audio files
            return _located_alone(uri)
        return found

    @cached_property
    def _audio_files(self) -> AudioFiles:
        try:
            return AudioFiles.below(self.root)
        except (FileNotFoundError, NotADirectoryError) as error:
            fault = f"there is no folder {self.root} with audio; set table.audio_folder to that of the audio"
            raise SourceError(self.source, [fault]) from error


def _located_alone(uri: str) -> AudioLocation | None:
    """Returns the location of a file that no listing shows; None if it is missing, as far as that is known at once."""
    if not filesystem.is_local(uri):
        return AudioLocation(uri=uri)  # a request for each of them would take longer than reading those that exist
    try:
        status = os.stat(uri)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return AudioLocation(uri=uri, version=f"{status.st_size}-{status.st_mtime_ns}")


def _joined(before: _Entry | BadRecording, entry: _Entry) -> _Entry | BadRecording:
    """Returns the rows of one recording as one: all texts and tags, and the first of other values."""
    if isinstance(before, BadRecording):
        return before
    one, other = before.fields, entry.fields
    for name in ("split", "recording_id"):
        values = {getattr(fields, name) for fields in (one, other)} - {""}
        if len(values) > 1:
            return BadRecording(f"rows with different {name}", f"{entry.audio} has {' and '.join(sorted(values))}")
    sources: dict[StoredSource, None] = dict.fromkeys([*one.texts, *other.texts])
    texts = {source: _union(one.texts.get(source, ()), other.texts.get(source, ())) for source in sources}
    scalars = {
        name: getattr(one, name) or getattr(other, name)
        for name in ("split", "recording_id", "title", "artist", "channel", "provenance", "licence")
    }
    return replace(before, fields=replace(one, texts=texts, tags=_union(one.tags, other.tags), **scalars))


def _union(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*one, *other]))


def _part(fields: RecordingFields) -> str:
    """Returns what is added to the name of a file for the id of a part of it."""
    if fields.start_s is None and fields.end_s is None:
        return ""
    return f"@{fields.start_s or 0:g}-{'' if fields.end_s is None else f'{fields.end_s:g}'}"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _surveyed(keys: np.ndarray, ids: np.ndarray) -> _Survey:
    """Returns the survey of the digests of keys, uint64 [rows], and of both ids of each, uint64 [rows, 2]."""
    values, counts = np.unique(keys, return_counts=True)
    several = counts > 1
    rows = dict(zip(values[several].tolist(), counts[several].tolist(), strict=True))
    pairs = np.unique(np.concatenate([np.stack([ids[:, column], keys], 1) for column in (0, 1)]), axis=0)
    names, users = np.unique(pairs[:, 0], return_counts=True)
    return _Survey(rows, frozenset(names[users > 1].tolist()))
