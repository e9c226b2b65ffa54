"""Tars of WebDataset: they are indexed where they are, or their recordings are copied like those of other sources."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mulan.config.base import Section
from mulan.config.sections import STORED_SOURCES
from mulan.data.corpus.adoption import AdoptedRow, adopt, folder_split
from mulan.data.corpus.examination import Examined, examine_shards
from mulan.data.corpus.fields import Fields, map_fields
from mulan.data.corpus.records import field_values, guessed_fields, id_of
from mulan.data.corpus.scanning import ScannedSample, checked_audio
from mulan.data.errors import BadRecording
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.sources.tar_patterns import expand_braces, has_wildcards, is_pattern, matches, split_pattern
from mulan.storage import filesystem
from mulan.storage.listing import file_version, files_below
from mulan.storage.ranged_file import RangedFile

_NAME = "name a tar, a folder with tars, or a pattern such as shards-{000..099}.tar or *.tar"
_OWN = Fields({source: (f"texts.{source}",) for source in STORED_SOURCES}, ("tags",))
"""The fields of JSON in mulan's own layout."""

T = TypeVar("T")


class WebDatasetConfig(Section):
    """The settings of tars of WebDataset."""

    copies: bool = False
    """Whether the recordings are copied, with the clip and the filters of the other sections; by default the tars are
    indexed where they are, as they are."""
    keys_restart: bool = False
    """Whether different tars use the same keys; ids then begin with the name of the tar."""
    fields: FieldsConfig = FieldsConfig()
    """Names of the fields with texts and tags; by default the usual ones, or mulan's own layout, are recognized."""


class WebDataset:
    """The recordings of uncompressed tars, as of :func:`mulan.data.corpus.adoption.index_shards`."""

    def __init__(self, uri: str, config: WebDatasetConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of a tar, of a folder with tars (``.tar``, also in its subfolders), or a pattern.
            config: The settings.
        """
        self._uri, self._config = uri, config
        fields = config.fields
        self._fields = None if fields == FieldsConfig() else fields.fields()

    @property
    def copies(self) -> bool:
        """Whether the recordings are copied, as :meth:`recordings` yields them, instead of being indexed."""
        return self._config.copies

    def shards(self) -> list[str]:
        """Returns the absolute paths or URIs of the tars: of a pattern with braces in its order, otherwise sorted.

        Raises:
            SourceError: There are none, or one that the pattern names is missing.
            StorageError, StoragePermanentError: The folder cannot be listed.
        """
        return list(self._versions())

    def rows(self, faults: Faults) -> Iterator[AdoptedRow]:
        """Yields the rows of an index of the tars, with absolute URIs.

        Args:
            faults: Takes what cannot be used.

        Raises:
            SourceError: There are no tars, or none of their recordings can be used.
            StorageError, StoragePermanentError: The tars cannot be read.
        """
        examined = adopt(self.shards(), fields=self._fields, keys_restart=self._config.keys_restart)
        return (row for _, row in self._usable(examined, faults))

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings to be copied, as of :class:`mulan.preparation.found.Source`.

        Raises:
            SourceError, StorageError, StoragePermanentError: As in :meth:`rows`.
        """
        versions = self._versions()
        find = partial(_found, fields=self._fields, versions=versions)
        examined = examine_shards(list(versions), find, keys_restart=self._config.keys_restart)
        for recording_id, recording in self._usable(examined, faults):
            yield replace(recording, recording_id=recording_id)

    def _usable(self, examined: Iterable[Examined[T]], faults: Faults) -> Iterator[tuple[str, T]]:
        """Yields ids and what was made of recordings, and passes the errors on."""
        usable, first = 0, ""
        for shard_uri, name, outcome in examined:
            if isinstance(outcome, BadRecording):
                where = shard_uri if name == shard_uri else f"{shard_uri}: {name}"
                faults.add(outcome.reason, f"{where}: {outcome.detail}")
                first = first or f"{where}: {outcome}"
            else:
                usable += 1
                yield name, outcome
        if not usable:
            raise SourceError(self._name, [f"none of its recordings can be used; the first fault: {first}"])

    @property
    def _name(self) -> str:
        return f"webdataset={self._uri}"

    def _versions(self) -> dict[str, str]:
        """Returns the tars with their versions: what changes if their content does."""
        if not is_pattern(self._uri) and self._uri.endswith(".tar"):
            try:
                return {self._uri: file_version(self._uri)}
            except (FileNotFoundError, NotADirectoryError) as error:
                raise SourceError(self._name, [f"there is no file {self._uri}; {_NAME}"]) from error
            except IsADirectoryError:
                pass
        folder, pattern = split_pattern(self._uri)
        try:
            below = files_below(folder, lambda name: bool(pattern) or name.endswith(".tar"))
        except FileNotFoundError as error:
            raise SourceError(self._name, [f"there is no folder {folder}; {_NAME}"]) from error
        except NotADirectoryError as error:
            fault = f"{folder} is neither a folder nor a .tar; decompress it if it is a compressed tar"
            raise SourceError(self._name, [f"{fault}; {_NAME}"]) from error
        names = self._matching(folder, below, pattern) if pattern else list(below)
        if not names:
            raise SourceError(self._name, [f"there are no tars in {folder}, or only compressed ones; {_NAME}"])
        return {filesystem.join(folder, name): below[name] for name in names}

    def _matching(self, folder: str, below: Mapping[str, str], pattern: str) -> list[str]:
        try:
            expanded = expand_braces(pattern)
        except ValueError as error:
            raise SourceError(self._name, [f"{pattern}: {error}; {_NAME}"]) from error
        names: dict[str, None] = {}
        missing = []
        for each in expanded:
            found = [name for name in below if matches(name, each)] if has_wildcards(each) else [each]
            missing += [each for name in found if name not in below]
            names |= dict.fromkeys(found)
        if missing:
            faults = [f"there is no file {filesystem.join(folder, name)}, which the pattern names" for name in missing]
            raise SourceError(self._name, faults)
        return list(names)


def _found(
    shard_uri: str, file: RangedFile, scanned: ScannedSample, *, fields: Fields | None, versions: Mapping[str, str]
) -> tuple[str, FoundRecording]:
    """Returns the id of a recording, and where its audio is in the tar."""
    key, audio = scanned.sample.key, checked_audio(file, scanned)
    values = field_values(key, scanned.texts)
    is_own = fields is None and not guessed_fields(key, scanned.texts)
    found = map_fields(values, _OWN if is_own else fields or Fields())
    recording_id = id_of(key, values) if is_own else key
    return recording_id, FoundRecording(
        recording_id=recording_id,
        audio=AudioLocation(uri=shard_uri, offset=audio.start, length=audio.size, version=versions[shard_uri]),
        split=found.split or folder_split(shard_uri),
        texts=found.texts,
        tags=found.tags,
        title=found.title,
        artist=found.artist,
        channel=found.channel,
        start_s=found.start_s,
        end_s=found.end_s,
        provenance=found.provenance,
        licence=found.licence,
    )
