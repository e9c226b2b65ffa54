"""A table of recordings: CSV, TSV, JSON lines or Parquet, with one row for each recording or for each of its texts."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.layout import is_settings, without_corpora
from mulan.preparation.sources.table_recordings import RowsConfig, TableRecordings
from mulan.preparation.sources.table_rows import EXTENSIONS, TableFile, is_table
from mulan.storage import filesystem
from mulan.storage.listing import file_version, files_below


class TableConfig(RowsConfig):
    """The settings of tables."""

    audio_folder: str = ""
    """Folder that the paths in the table are relative to; empty for that of the table."""


class TableSource:
    """A table, or a folder of tables with the same columns. Those of prepared corpora in the folder are not read.

    A row names its audio by a path, relative to the folder of the table or absolute, or by a URI; a Parquet file may
    contain the audio. A relative path stays in the folder. The other columns are described in
    :func:`mulan.data.corpus.fields.map_fields`. The id of a recording is the column ``id``, or its path without the
    extension.
    """

    def __init__(self, uri: str, config: TableConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the table, or of a folder with tables.
            config: The settings.
        """
        self._uri, self._config = uri, config

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the recordings in the order of their last rows, as of :class:`mulan.preparation.found.Source`.

        Raises:
            SourceError: There is no table, or one is damaged or lacks a column.
            StorageError, StoragePermanentError: A table or the folder of the audio cannot be read.
        """
        source = f"table={self._uri}"
        folder, files = self._files(source)
        root = filesystem.absolute(self._config.audio_folder) if self._config.audio_folder else folder
        yield from TableRecordings(source, root, files, self._config, trusted=True).recordings(faults)

    def _files(self, source: str) -> tuple[str, list[TableFile]]:
        """Returns the folder of the tables and the tables."""
        if is_table(self._uri):
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                version = file_version(self._uri)
                folder, name = posixpath.split(self._uri)
                return folder, [TableFile(uri=self._uri, name=name, version=version)]
        try:
            found = files_below(self._uri, lambda name: is_table(name) or is_settings(name))
        except (FileNotFoundError, NotADirectoryError):
            found = {}
        names = [name for name in without_corpora(found) if is_table(name)]
        if not names:
            kinds = ", ".join(sorted(EXTENSIONS))
            raise SourceError(source, [f"{self._uri} is no table, and no folder of tables ({kinds})"])
        return self._uri, [
            TableFile(uri=filesystem.join(self._uri, name), name=name, version=found[name]) for name in names
        ]
